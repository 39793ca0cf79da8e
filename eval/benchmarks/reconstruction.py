"""How well a pose tokenizer gives poses back: on usual poses, and on extreme ones (the part that MOYO plays)."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.record_set import RecordSet
from eval.benchmarks.base import Bench, MissingNeed
from eval.metrics.body import BodyError

LIMIT = 2000


def held_out_poses(bench: Bench, name: str, split: str) -> Tensor:
    """(N, 22, 3, 3) as the source has them, heading and all, at most LIMIT of them, evenly chosen."""
    folder = Path(bench.sets.get(name, bench.data_dir / name))
    if not folder.is_dir():
        raise MissingNeed(f"{folder} is not there; it holds poses: llmpose data prepare {name} ...")
    records = RecordSet.load(folder).filter(split=split, has="pose_rotmat")
    if not len(records):
        raise MissingNeed(f"{folder} has no poses of the split {split!r}")
    few = np.linspace(0, len(records) - 1, min(LIMIT, len(records))).round().astype(np.int64)
    return torch.from_numpy(records.poses()[few].copy())


def reconstruction_errors(bench: Bench, tokenizer: Path) -> dict[str, float]:
    """MPJPE and PA-MPJPE of 22 joints about the pelvis, AMASS test, and MOYO validation as "extreme_..."."""
    from tokenizer_vq import PoseTokenizer

    codec = PoseTokenizer.from_pretrained(tokenizer).to(bench.torch_device).eval()  # type: ignore[arg-type]
    values: dict[str, float] = {}
    for name, split, prefix in (("amass", "test", ""), ("moyo", "val", "extreme_")):
        poses = held_out_poses(bench, name, split)
        with torch.no_grad():
            rebuilt = torch.cat([codec.decode(codec.encode(p.to(bench.torch_device))).cpu() for p in poses.split(256)])
        error = BodyError("smpl22")
        error.update([f"{i:06d}" for i in range(len(poses))], bench.joints(rebuilt), bench.joints(poses))
        result = error.compute()
        values |= {prefix + key: result[key] for key in ("mpjpe_mm", "pa_mpjpe_mm")}
    return values
