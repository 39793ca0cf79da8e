"""A small record set to build from: two sources, three splits, motions of four frames, a picture for some."""

import numpy as np
import pytest
from PIL import Image

from data.records import Record, RecordSet
from data.synth.poses import sample_poses

SPLITS = ("train",) * 5 + ("val", "test")


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> RecordSet:
    root = tmp_path_factory.mktemp("build")
    images = root / "pictures"
    images.mkdir()
    rotmat, _ = sample_poses(280, seed=2)
    made = []
    for number, pose in enumerate(rotmat):
        motion, frame = divmod(number, 4)
        split = SPLITS[motion % len(SPLITS)]
        has_image = number % 2 == 0
        if has_image:
            Image.fromarray(np.full((32, 24, 3), number % 255, np.uint8)).save(images / f"{number}.png")
        made.append(
            Record(
                id=f"made/{number}",
                source="coco" if has_image else "amass",
                split=split,
                image=f"{number}.png" if has_image else None,
                box_xyxy_px=np.array([1, 2, 20, 30], np.float32) if has_image else None,
                pose_rotmat=pose,
                sequence=None if has_image else f"CMU/01/motion{motion}_poses.npz",
                frame=None if has_image else frame * 3,
                attributes={} if has_image else {"frames_per_second": 30.0},
            )
        )
    return RecordSet.write(root / "records", made, image_root=images)
