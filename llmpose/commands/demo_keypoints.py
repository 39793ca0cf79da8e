"""The demo's steps for keypoints of anything: things, eyes for them, a model that is shown a point, and its tables.

Their recipes are those of launch/recipes/kptllm; `micro` shortens them. The model is one of its own, beside the demo's
pose model, so these steps may also be walked alone.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmpose.commands.demo_run import Demo, Step

if TYPE_CHECKING:
    from eval.benchmarks.base import Bench

RECIPES = Path(__file__).resolve().parents[2] / "launch" / "recipes" / "kptllm"
PICTURE_PX = 144
QUICK = ("checkpoints.every=null", "log.every=5")
MICRO: dict[str, tuple[str, ...]] = {
    "eyes": ("max_steps=4", "eval_pairs=16", *QUICK),
    "tiny": ("max_steps=4", "eval_examples=8", *QUICK),
}
RUNS = {"eyes for things": "keypoint_eyes", "keypoints": "keypoints"}
"""Title in the report -> run folder."""
TABLES = ("keypoint_visual_1shot", "keypoint_textual", "keypoint_semantic", "keypoint_training", "keypoint_decoding")
PAIRS = {"tiny": 100, "micro": 4}
"""Test pairs, and objects, of each benchmark."""


def things(demo: Demo) -> None:
    from data.prepare import prepare
    from data.synth.object_world import write_objects

    if not demo.path("things").is_dir():
        write_objects(demo.path("things"), preset=demo.preset, seed=demo.seed, size_px=PICTURE_PX)
    prepare("mp100", demo.path("things", "mp100"), demo.path("data", "mp100_1"), overwrite=True)


def keypoint_eyes(demo: Demo) -> None:
    demo.train(RECIPES / "eyes.tiny.yaml", "keypoint_eyes", short=MICRO["eyes"])


def keypoints(demo: Demo) -> None:
    eyes = f"model.vision.things.folder={demo.path('keypoint_eyes')}"
    demo.train(RECIPES / "tiny.yaml", "keypoints", eyes, short=MICRO["tiny"])


def keypoint_benchmarks(demo: Demo) -> None:
    from eval.run import evaluate
    from llmpose.commands.demo_steps import bench_of

    evaluate(TABLES, keypoint_bench(demo, bench_of(demo)), demo.console)


def keypoint_bench(demo: Demo, bench: "Bench") -> "Bench":
    """The demo's bench, asking the keypoint model."""
    return replace(
        bench, model_dir=demo.path("keypoints", "model"), limit=PAIRS[demo.preset], method="the demo's keypoint model"
    )


STEPS = [
    Step("things", "articulated things that are not people, as MP-100 has its pictures", things),
    Step("keypoint_eyes", "eyes that find the counterpart of a point in another thing", keypoint_eyes),
    Step("keypoints", "a model that is shown a point, or told of it, and finds it", keypoints),
    Step("keypoint_benchmarks", "categories that it never saw, against the mean keypoint", keypoint_benchmarks),
]
