"""Small prepared sets for the tests of training: pictures of dots, poses, texts, pairs."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from data.records import PairRecord, PairSet, Record, RecordSet
from llmpose.body.pose import Pose


def write_people(folder: Path, count: int = 12) -> Path:
    """Pictures of 60 × 48 with a bright dot at every keypoint's place; poses that are each other's mirror images."""
    (folder / "images").mkdir(parents=True)
    generator = np.random.default_rng(0)
    records = []
    for i in range(count):
        keypoints = np.concatenate([generator.uniform(14, 34, (17, 2)), np.full((17, 1), 2)], axis=1).astype(np.float32)
        pixels = np.full((60, 48, 3), 20 * (i % 8), np.uint8)
        pixels[keypoints[:, 1].astype(int), keypoints[:, 0].astype(int)] = 255
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        aa = torch.from_numpy(generator.normal(0, 0.4, (22, 3)))
        records.append(
            Record(
                id=f"p/{i}",
                source="dots",
                split="train" if i % 3 else "val",
                image=f"images/{i}.png",
                width=48,
                height=60,
                box_xyxy_px=np.array([12, 12, 36, 36], np.float32),
                keypoints=keypoints,
                skeleton="coco17",
                pose_rotmat=Pose.from_axis_angle(aa).rotmat.numpy(),
                texts=[f"picture number {i} of a row", f"a thing called {i}"],
            )
        )
    RecordSet.write(folder / "records", records, image_root=folder)
    return folder / "records"


def write_pairs(folder: Path, people: Path, count: int = 12) -> Path:
    """Each person and the next one, as a pair."""
    records = list(RecordSet.load(people))
    pairs = [
        PairRecord(
            id=f"pair/{i}",
            source="dots",
            split=records[i].split,
            a=records[i].id,
            b=records[(i + 1) % len(records)].id,
            texts=[f"raise it by {i}", f"move number {i}"],
            in_sequence=i % 2 == 0,
        )
        for i in range(count)
    ]
    PairSet.write(folder, pairs, records, image_root=people.parent)
    return folder
