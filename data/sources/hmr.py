"""The evaluation files of HMR 2.0 (4D-Humans), which TokenHMR and the built-in world use too: a row per person."""

from pathlib import Path

from data.rejects import Rejects
from data.sources.base import Items, Source, choice, not_the_dataset
from data.sources.people import people_records

_SPLITS = ("train", "val", "test")


def _read(
    root: Path, split: str | None, rejects: Rejects, *, file: str = "", images: str = "", called: str = ""
) -> Items:
    for path in _files(root, file):
        name = choice(called, _SPLITS, "option called") if called else split_of(path)
        if split is None or name == split:
            yield from people_records(path, root, source="hmr", split=name, images=images)


def _files(root: Path, given: str) -> list[Path]:
    if given:
        return [root / given]
    found = sorted(root.glob("*.npz")) or sorted((root / "hmr").glob("*.npz"))
    if not found:
        raise not_the_dataset(root, "a folder of HMR 2.0 evaluation files", "*.npz or hmr/*.npz")
    return found


def split_of(path: Path) -> str:
    """h36m_val_p2.npz -> val, 3dpw_test.npz -> test; what names none is an evaluation file."""
    return next((name for name in _SPLITS if name in path.stem), "test")


HMR = Source(
    name="hmr",
    title="HMR 2.0 evaluation files (3DPW, Human3.6M, LSPET, the built-in world)",
    gives="images, boxes, poses in the viewer's frame, keypoints, 3D joints",
    layout=("*.npz or hmr/*.npz (imgname, center, scale in pixels, body_pose, betas, …)", "the images that they name"),
    where="https://github.com/shubham-goel/4D-Humans (files); images from each dataset",
    licence="that of each dataset: research only, no redistribution",
    reader=_read,
    options={
        "file": "one .npz below --root (default: all)",
        "images": "folder below --root that image names start from (default: found by looking)",
        "called": "train, val or test, where the file's name says something else (default: what it says)",
    },
)
