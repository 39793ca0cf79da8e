"""The demo's steps: world, records, texts, tokenizer, retrieval, eyes, three language stages, figures, report,
keypoints.

Every step calls what the commands of the same name call, on the tiny recipes of launch/recipes/unipose; `micro`
shortens each of them. Nothing here knows a number that a recipe or a preset could know.
"""

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmpose.commands import demo_keypoints
from llmpose.commands.demo_run import Demo, Step, program

if TYPE_CHECKING:
    from eval.benchmarks.base import Bench

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "launch" / "recipes" / "unipose"
QUICK = ("checkpoints.every=null", "checkpoints.evaluate_every=null", "log.every=5")
MICRO: dict[str, tuple[str, ...]] = {
    "1_tokenizer": ("max_steps=60", *QUICK),
    "retrieval": ("max_steps=20", *QUICK),
    "retrieval_pair": ("max_steps=20", *QUICK),
    "vision_clip": ("max_steps=8", "batch.size=16", *QUICK),
    "vision_pose": ("max_steps=12", *QUICK),
    "2_align": ("examples_per_epoch=128", "epochs=1", "eval_examples=16", *QUICK),
    "3_projector": ("examples_per_epoch=64", "epochs=1", "eval_examples=16", *QUICK),
    "4_instruct": ("examples_per_epoch=128", "epochs=1", "eval_examples=16", *QUICK),
}
"""What a stage is cut down to: it still walks every step of the way, on a model that has learnt next to nothing."""
STAGES = {
    "1 pose tokenizer": "1_tokenizer",
    "retrieval: poses and texts": "retrieval",
    "retrieval: pairs and texts": "retrieval_pair",
    "CLIP": "vision_clip",
    "pose ViT": "vision_pose",
    "2 pose-text alignment": "2_align",
    "3 visual projector": "3_projector",
    "4 instruction tuning": "4_instruct",
    **demo_keypoints.RUNS,
}
"""Title in the report -> run folder."""
TEST_QUESTIONS = {"tiny": 256, "micro": 24}
"""Of each benchmark."""


def world(demo: Demo) -> None:
    from rich.progress import Progress

    from data.synth.presets import world_recipe
    from data.synth.world import make_world

    with Progress(console=demo.console, transient=True) as bar:
        task = bar.add_task("world", total=None)
        make_world(
            demo.path("world"),
            world_recipe(demo.preset),
            seed=demo.seed,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def records(demo: Demo) -> None:
    from data.inspect import draw_sheet, open_set
    from data.prepare import prepare

    for source, root, name in (("amass", "poses", "amass"), ("moyo", "moyo", "moyo"), ("coco", ".", "people")):
        prepare(source, demo.path("world", root), demo.path("data", name), overwrite=True)
    demo.path("sheets").mkdir(exist_ok=True)
    draw_sheet(open_set(demo.path("data", "people"), split="test"), demo.path("sheets", "people.png"), seed=demo.seed)


def texts(demo: Demo) -> None:
    from data.build.builders import Options, build
    from data.build.texts import Writing
    from data.record_set import RecordSet

    for name, source in (
        ("posescript", "amass"),
        ("posefix", "amass"),
        ("imagescript", "people"),
        ("imagediff", "people"),
    ):
        poses = RecordSet.load(demo.path("data", source))
        # Every pose gets brief texts: a model of three million weights learns those sooner than long ones.
        writing = Writing(style="brief", refined_share=1.0, seed=demo.seed)
        options = Options(count=len(poses), writing=writing, seed=demo.seed)
        build(name, poses, demo.path("data", name), options, overwrite=True)


def tokenizer(demo: Demo) -> None:
    train(demo, "1_tokenizer")


def retrieval(demo: Demo) -> None:
    for name in ("retrieval", "retrieval_pair"):
        train(demo, name, f"model.tokenizer={demo.path('1_tokenizer')}")


def eyes(demo: Demo) -> None:
    for name in ("vision_clip", "vision_pose"):
        train(demo, name)


def align(demo: Demo) -> None:
    train(demo, "2_align", f"model.pose_tokenizer={demo.path('1_tokenizer')}")


def projector(demo: Demo) -> None:
    train(
        demo,
        "3_projector",
        f"start_from={demo.path('2_align')}",
        f"keep_features={demo.path('features')}",
        f"model.vision.clip.folder={demo.path('vision_clip')}",
        f"model.vision.pose.folder={demo.path('vision_pose')}",
    )


def instruct(demo: Demo) -> None:
    train(demo, "4_instruct", f"start_from={demo.path('3_projector')}", f"keep_features={demo.path('features')}")


def benchmarks(demo: Demo) -> None:
    from eval.benchmarks import BENCHMARKS
    from eval.run import evaluate

    wanted = [name for name in BENCHMARKS if name in MEASURED]
    evaluate(wanted, bench_of(demo), demo.console)


MEASURED = (
    "pose_to_text", "pose_diff", "image_to_text", "image_diff", "text_to_pose", "pose_estimation", "pose_editing",
    "retrieval", "pair_retrieval", "pose_decoding", "tokenizer",
)  # fmt: skip
"""The benchmarks of the demo."""


def report(demo: Demo) -> None:
    from eval.report import write_report
    from eval.report_run import RunFiles, page_words, run_sections
    from eval.summary import write_summary

    seconds = demo.seconds
    run = RunFiles(
        bench=bench_of(demo),
        runs={title: demo.path(name) for title, name in STAGES.items()},
        seconds=seconds,
        tokenizer=demo.path("1_tokenizer"),
        keypoints=demo_keypoints.keypoint_bench(demo, bench_of(demo)),
        machine=f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
        chat=(f"{program()} chat --model {demo.path('4_instruct', 'model')}",),
    )
    sections, figures = run_sections(run)
    write_summary(demo.path("report", "summary.json"), figures, seconds)
    write_report(demo.path("report"), sections, **TITLE[demo.preset], **page_words(run, figures))


TITLE: dict[str, dict[str, Any]] = {
    "tiny": {"title": "llmpose: what the demo trained"},
    "micro": {"title": "llmpose: a short walk through the demo"},
}


def train(demo: Demo, name: str, *words: str) -> None:
    """One stage by its tiny recipe, in the demo's folder; going on where it was interrupted."""
    demo.train(RECIPES / f"{name}.tiny.yaml", name, *words, short=MICRO[name])


def bench_of(demo: Demo) -> "Bench":
    """Where the benchmarks find everything."""
    from eval.benchmarks.base import Bench

    return Bench(
        data_dir=demo.path("data"),
        out_dir=demo.path("eval"),
        model_dir=demo.path("4_instruct", "model"),
        retrieval_dir=demo.path("retrieval", "model"),
        pair_retrieval_dir=demo.path("retrieval_pair", "model"),
        tokenizer_dir=demo.path("1_tokenizer", "model"),
        limit=TEST_QUESTIONS[demo.preset],
        batch_size=64,
        seed=demo.seed,
        refine_poses=True,
        data_name="the built-in world",
        method="the demo's model",
    )


STEPS = [
    Step("world", "people in scenes, and motions, in the formats of COCO, AMASS and HMR 2.0", world),
    Step("records", "read back by the readers that read the real sets", records),
    Step("texts", "descriptions and instructions: PoseScript, PoseFix, ImageScript, ImageDiff", texts),
    Step("tokenizer", "stage 1: a pose becomes a short row of tokens", tokenizer),
    Step("retrieval", "poses and texts in one space, for the metrics", retrieval),
    Step("eyes", "a small CLIP and a small pose ViT learn to see", eyes),
    Step("align", "stage 2: pose words and text in one language", align),
    Step("projector", "stage 3: pictures enter the language", projector),
    Step("instruct", "stage 4: all seven tasks, as people ask for them", instruct),
    Step("benchmarks", "the seven tasks against trivial answers, on held-out data", benchmarks),
    Step("report", "one page with curves, figures and pictures", report),
    *demo_keypoints.STEPS,
    Step("whole_report", "the page once more, with the keypoints of things", report),
]
