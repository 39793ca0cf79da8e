"""Leeds Sports Pose (LSP) and its extended set (LSPET); also the high-resolution LSPET of HMR 2.0 (hr-lspet_train.npz).

The two joints.mat differ in more than size: LSP is 3 x 14 x 2000 and its flag 1 means *hidden*; LSPET is 14 x 3 x 10000
and its flag 1 means *visible*. Read the wrong way round, every occluded joint would be the only one trusted.
"""

from pathlib import Path

import numpy as np

from data.record import Record
from data.rejects import Rejects
from data.sources.base import Items, Source, not_the_dataset
from data.sources.people import box_around, people_records
from llmpose.errors import UserError

_NUM_TRAIN = 1000
"""LSP's first half trains; all of LSPET does."""


def _read(root: Path, split: str | None, rejects: Rejects, *, images: str = "") -> Items:
    path = root / "joints.mat"
    if path.is_file():
        yield from _from_mat(path, split, images or "images", rejects)
        return
    files = sorted(root.glob("*lspet*.npz"))
    if not files:
        raise not_the_dataset(root, "LSP", "joints.mat and images/, or hr-lspet_train.npz")
    for file in files:
        name = "test" if "test" in file.stem else "train"
        if split in (None, name):
            yield from people_records(file, root, source="lsp", split=name, images=images)


def _from_mat(path: Path, split: str | None, images: str, rejects: Rejects) -> Items:
    from scipy.io import loadmat

    try:
        joints = np.asarray(loadmat(path)["joints"], dtype=np.float64)
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise UserError(f"{path}: not LSP's joints.mat ({error})") from None
    if joints.shape[:2] == (3, 14):
        extended, people = False, joints.transpose(2, 1, 0)
    elif joints.shape[:2] == (14, 3):
        extended, people = True, joints.transpose(2, 0, 1)
    else:
        raise UserError(f"{path}: joints are {joints.shape}, expected 3 x 14 x N (LSP) or 14 x 3 x N (LSPET)")
    digits, source = (5, "lspet") if extended else (4, "lsp")
    for row, person in enumerate(people):
        name = "train" if extended or row < _NUM_TRAIN else "test"
        if split not in (None, name):
            continue
        flag = person[:, 2] > 0
        seen = np.where(flag, 2, 0) if extended else np.where(flag, 1, 2)
        points = np.concatenate([person[:, :2], seen[:, None]], axis=1).astype(np.float32)
        points[seen == 0] = 0
        if not (points[:, 2] > 0).any():
            rejects.add("no labelled keypoint", f"{source}/{row + 1}")
            continue
        yield Record(
            id=f"{source}/{row + 1}",
            source="lsp",
            split=name,
            image=f"{images}/im{row + 1:0{digits}d}.jpg",
            box_xyxy_px=box_around(points),
            keypoints=points,
            skeleton="lsp14",
        )


LSP = Source(
    name="lsp",
    title="Leeds Sports Pose, plain or extended",
    gives="images, boxes, keypoints",
    layout=(
        "joints.mat and images/im%04d.jpg (LSP) or images/im%05d.jpg (LSPET)",
        "or hr-lspet_train.npz and its images",
    ),
    where="https://github.com/axelcarlier/lsp and others mirror it; hr-lspet_train.npz from 4D-Humans",
    licence="none stated; images from Flickr; treat as research only",
    reader=_read,
    splits=("train", "test"),
    options={"images": "folder of the images below --root (default images)"},
)
