"""What sharing an image saves: seventeen keypoints of one object as branches, and one sequence for each.

Measured on a small decoder of random weights behind KptLLM's 576 image tokens (eval/speed/keypoints.py): the work is
the same whatever the weights say, so no trained model is needed.
"""

from eval.benchmarks.base import Bench, Benchmark, Result
from eval.tables import Column, Headline, Row, Table

KEYPOINTS = 17
BRANCHES, ALONE = "branches of one image", "one sequence for each keypoint"
SPEEDUP = "speedup_branches"
_COLUMNS = [Column("seconds", "seconds an object", "down", digits=3), Column(SPEEDUP, "times faster", "up")]
_TITLES = {
    "training": "One training step on the keypoints of one object",
    "decoding": "Decoding the keypoints of one object",
}


class KeypointSpeed(Benchmark):
    needs = "nothing: random weights do the same work"

    def __init__(self, what: str) -> None:
        self.what = what
        self.name, self.title = f"keypoint_{what}", _TITLES[what]

    def measure(self, bench: Bench) -> Result | None:
        from eval.speed.keypoints import measure

        if not bench.is_main:
            return None
        found = measure("training" if self.what == "training" else "decoding", bench.torch_device.type, KEYPOINTS)
        alone = found["alone_s"]
        rows = [
            Row(BRANCHES, "ours", {"seconds": found["branches_s"], SPEEDUP: found["speedup"]}),
            Row(ALONE, "baseline", {"seconds": alone, SPEEDUP: 1.0}),
        ]
        if "batched_s" in found:
            batched = found["batched_s"]
            rows.append(Row("one batch, every row reads the image", "baseline", _of(batched, alone)))
        table = Table(
            self.name,
            self.title,
            _COLUMNS,
            rows,
            protocol=f"{KEYPOINTS} keypoints shown by one support, 576 image tokens, a decoder of 2 layers and width "
            f"128 with random weights; the better of two turns on {bench.torch_device.type}",
            n=KEYPOINTS,
            data="random pictures",
            headlines=[Headline(self.name, SPEEDUP, ALONE)],
        )
        return Result(table)


def _of(seconds: float, alone: float) -> dict[str, float]:
    return {"seconds": seconds, SPEEDUP: alone / seconds}
