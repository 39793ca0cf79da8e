"""The papers' ablations as data: what is trained in which variants, what is measured, and what the papers found.

A variant is words for `train.run` (recipe files, then key=value); {prepared} stands for the folder of what all variants
share (tokenizer, encoders, aligned model), {run} for the variant's own folder.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from eval import papers, papers_keypoints
from eval.benchmarks.poses import error_columns
from eval.tables import Column, Row, millimetres, percent
from llmpose.errors import BadUsage

RECIPES = "launch/recipes/unipose"
TASKS = ("pose_to_text", "text_to_pose", "pose_diff", "pose_editing", "image_to_text", "image_diff", "pose_estimation")
SETS = ("posescript", "posefix", "imagescript", "imagediff", "people")
SET_OF = {
    "pose_to_text": "posescript",
    "text_to_pose": "posescript",
    "pose_diff": "posefix",
    "pose_editing": "posefix",
    "image_to_text": "imagescript",
    "image_diff": "imagediff",
    "pose_estimation": "people",
}
METRIC_OF = {
    task: "mpjpe_mm" if task in ("text_to_pose", "pose_editing", "pose_estimation") else "rouge_l" for task in TASKS
}


@dataclass(frozen=True)
class Preset:
    """How large: words laid over every tiny recipe of a kind."""

    name: str
    words: Mapping[str, tuple[str, ...]]
    examples: int
    """Of one task in an ablation of the language model, over all epochs."""
    limit: int
    """Records of each test set."""
    tokenizer_steps: int
    """Of every tokenizer in the comparison of designs."""


_DECODER = (
    "model.new.hidden_size=192",
    "model.new.num_layers=4",
    "model.new.num_heads=6",
    "model.new.intermediate_size=512",
    "model.new.context=512",
)
_SMALL_DECODER = (
    "model.new.hidden_size=384",
    "model.new.num_layers=8",
    "model.new.num_heads=6",
    "model.new.intermediate_size=1024",
)
PRESETS = {
    # About ten minutes per language run and seed on one CPU core, seconds to minutes for the rest.
    "tiny": Preset("tiny", {}, examples=5000, limit=300, tokenizer_steps=1000),
    # For one GPU and the built-in world of size small.
    "small": Preset(
        "small",
        {
            "language": (*_SMALL_DECODER, "batch.size=128", "optim.lr=1e-3"),
            "tokenizer": (
                "max_steps=20000",
                "model.hidden_size=256",
                "model.num_pose_tokens=40",
                "model.codebook_size=512",
            ),
            "vision_pose": ("encoder.hidden_size=256", "encoder.num_layers=8", "epochs=16", "batch.size=128"),
            "vision_clip": ("encoder.hidden_size=192", "encoder.num_layers=6", "epochs=8", "batch.size=256"),
            "retrieval": ("max_steps=4000", "model.text_width=256", "model.pose_width=256"),
        },
        examples=60_000,
        limit=1000,
        tokenizer_steps=20_000,
    ),
}


@dataclass(frozen=True)
class Direction:
    """A claim of a paper: on this metric one variant is better than another."""

    metric: str
    better: str
    worse: str
    claim: str


@dataclass(frozen=True)
class Ablation:
    name: str
    title: str
    kind: str
    """Kind of recipe that the variants train."""
    variants: Mapping[str, tuple[str, ...]]
    benchmarks: Mapping[str, tuple[str, ...]]
    """Variant -> what is measured with it; the key "" holds for all that have no own."""
    columns: tuple[Column, ...]
    published: tuple[Row, ...]
    paper_data: str
    directions: tuple[Direction, ...]
    prepared: tuple[str, ...] = ("tokenizer",)
    notes: tuple[str, ...] = field(default=())
    sized: bool = True
    """Whether the preset's words for this kind are laid over the variants."""

    def with_words(self, variant: str, words: tuple[str, ...]) -> "Ablation":
        """One variant with further words."""
        return replace(self, variants={**self.variants, variant: (*self.variants[variant], *words)})


def language_words(tasks: Mapping[str, int], *, epochs: int = 4) -> tuple[str, ...]:
    """One stage from nothing: a new decoder and so many examples of each task; measured by benchmarks afterwards."""
    words = [f"{RECIPES}/4_instruct.tiny.yaml", "start_from=null", "model.pose_tokenizer={prepared}/tokenizer"]
    words += [*_DECODER, "optim.lr=2e-3", f"epochs={epochs}", f"examples_per_epoch={sum(tasks.values()) // epochs}"]
    words += ["checkpoints.every=null", "keep_features=null", "eval_examples=64"]
    for name in SETS:
        own = [f"{task}: {count}" for task, count in tasks.items() if SET_OF[task] == name]
        for split in ("train", "eval"):
            words.append(f"data.{split}.{name}.weight={1 if own else 0}")
            if own:
                words.append(f"data.{split}.{name}.tasks={{{{{', '.join(own)}}}}}")  # {{ }} survive the later format
    return tuple(words)


def eyes(*names: str) -> tuple[str, ...]:
    """The vision encoders of a variant; what they see is kept once for all seeds."""
    words = [f"model.vision.{name}.folder={{prepared}}/vision_{name}" for name in names]
    return (*words, "model.projector=mlp2", f"keep_features={{prepared}}/features_{'_'.join(names)}")


def plans(preset: Preset) -> dict[str, Ablation]:
    """All ablations, in the order of the papers' tables."""
    every = (
        _single(2 * preset.examples // 5),  # of seven tasks, twice: else it would cost more than all others together
        _vision(preset.examples),
        _attention(preset.examples),
        _orientation(),
        _tokens(preset.tokenizer_steps),
        *_keypoints(),
    )
    return {plan.name: plan for plan in every}


def plans_named(names: Sequence[str], preset: str) -> list[Ablation]:
    """The ablations of these names or kinds; all of them if none is named."""
    if preset not in PRESETS:
        raise BadUsage(f"--preset {preset!r}: choose {' or '.join(PRESETS)}")
    known = plans(PRESETS[preset])
    kinds = {plan.kind for plan in known.values()}
    unknown = [name for name in names if name not in known and name not in kinds]
    if unknown:
        raise BadUsage(f"no ablation is called {unknown[0]!r}; there are {', '.join([*known, *sorted(kinds)])}")
    return [plan for name, plan in known.items() if not names or name in names or plan.kind in names]


_POSES = tuple(error_columns("smpl22"))
_EXTREME = (
    millimetres("extreme_mpjpe_mm", "MPJPE, extreme", "smpl22"),
    millimetres("extreme_pa_mpjpe_mm", "PA-MPJPE, extreme", "smpl22"),
)
_WORDS = (percent("bleu4", "BLEU-4"), percent("rouge_l", "ROUGE-L"))


def _attention(examples: int) -> Ablation:
    words = language_words({"text_to_pose": examples, "pose_to_text": examples})
    mixed, causal = "mixed attention", "causal attention"
    recalls = (percent(f"r_{way}_{k}", f"{way.upper()}@{k}") for way in ("t2p", "p2t") for k in (5, 10, 20))
    return Ablation(
        name="attention",
        title="Mixed or causal attention (UniPose Tab. 7)",
        kind="language",
        variants={
            mixed: (*words, "model.pose_attention=mixed"),
            causal: (*words, "model.pose_attention=causal"),
        },
        benchmarks={"": ("text_to_pose", "pose_to_text")},
        columns=(*recalls, _POSES[0], Column("latency_s", "seconds a pose", "down", digits=3), *_WORDS),
        published=tuple(papers.ATTENTION),
        paper_data="PoseScript",
        directions=(
            Direction("r_t2p_5", mixed, causal, "with mixed attention texts find the poses made of them more often"),
            Direction(
                "r_p2t_5", mixed, causal, "with mixed attention poses find the texts they were made of more often"
            ),
            Direction("latency_s", mixed, causal, "mixed attention is faster"),
            Direction("rouge_l", causal, mixed, "causal attention describes a little better"),
        ),
        prepared=("tokenizer", "retrieval"),
        notes=(
            "The paper's two text figures cannot be told apart in our copy; both are higher with causal attention.",
        ),
    )


def _vision(examples: int) -> Ablation:
    words = language_words({"pose_estimation": 2 * examples, "image_to_text": examples})
    clip, pose, both = "CLIP-ViT", "Pose-ViT", "CLIP-ViT + Pose-ViT"
    return Ablation(
        name="vision",
        title="Components of the visual processor (UniPose Tab. 6)",
        kind="language",
        variants={clip: (*words, *eyes("clip")), pose: (*words, *eyes("pose")), both: (*words, *eyes("clip", "pose"))},
        benchmarks={"": ("pose_estimation", "image_to_text")},
        # Of poses estimated from pictures: ours, and the papers' on other joints.
        columns=(*error_columns("smpl24", "24 joints"), *error_columns("hmr2_14", "14 joints"), *_WORDS),
        published=tuple(papers.VISUAL_PROCESSOR),
        paper_data="3DPW and ImageScript",
        directions=(
            Direction("mpjpe_mm", pose, clip, "the pose ViT sees poses far better than CLIP"),
            Direction("mpjpe_mm", both, pose, "both together see poses a little better than the pose ViT alone"),
            Direction("rouge_l", both, clip, "the pose ViT helps to describe"),
            Direction("rouge_l", both, pose, "CLIP helps to describe"),
        ),
        prepared=("tokenizer", "vision_clip", "vision_pose"),
    )


def _orientation() -> Ablation:
    recipe = f"{RECIPES}/1_tokenizer.tiny.yaml"
    plain, noisy = "without orientation noise", "with orientation noise"
    return Ablation(
        name="orientation",
        title="Orientation noise for the tokenizer (UniPose suppl. Tab. 5)",
        kind="tokenizer",
        variants={plain: (recipe, "augment.yaw_deg=0", "augment.tilt_deg=0"), noisy: (recipe,)},
        benchmarks={"": ("tokenizer",)},
        columns=(*_POSES, *_EXTREME),
        published=tuple(papers.TOKENIZER),
        paper_data="AMASS; extreme: MOYO",
        directions=(
            Direction("mpjpe_mm", noisy, plain, "noise helps on usual poses"),
            Direction("extreme_mpjpe_mm", noisy, plain, "noise helps on extreme poses"),
        ),
        prepared=(),
    )


def _tokens(steps: int) -> Ablation:
    """The paper's tokenizer and ours at equal numbers of tokens, codes, poses, steps, and with the same losses."""

    def words(*own: str) -> tuple[str, ...]:
        common = ("model.codebook_size=512", "model.own_codes=false", "model.hidden_size=64", "model.num_layers=2")
        often = ("batch.size=32", "checkpoints.every=null", "checkpoints.evaluate_every=null", "eval_poses=256")
        return (f"{RECIPES}/1_tokenizer.tiny.yaml", *common, f"max_steps={steps}", *often, *own)

    conv = ("model.design=conv", "model.quantizer=ema", "model.code_width=64")
    lengths = (20, 40, 80, 160)
    theirs = {n: f"the paper's convolutions, {n} tokens" for n in lengths}
    ours = {n: f"by parts of the body, {n} tokens" for n in lengths}
    released = "the paper's convolutions and losses, 80 tokens"
    paper_loss = ("loss.measure=squared", "loss.vertices=100", "augment.part_noise_target=clean")
    variants: dict[str, tuple[str, ...]] = {}
    for n in lengths:
        variants[ours[n]] = words(f"model.num_pose_tokens={n}")
        variants[theirs[n]] = words(*conv, f"model.num_pose_tokens={n}")
    variants[released] = words(*conv, "model.num_pose_tokens=80", *paper_loss)
    return Ablation(
        name="tokens",
        title="Tokens against error: the paper's tokenizer and the parts design (UniPose §3.1)",
        kind="tokenizer",
        variants=variants,
        benchmarks={"": ("tokenizer",)},
        columns=(
            Column("num_pose_tokens", "tokens", "down", digits=0),
            Column("parameters", "parameters", "down", digits=0),
            *_POSES,
            millimetres("pve_mm", "PVE"),
            *_EXTREME,
            millimetres("extreme_pve_mm", "PVE, extreme"),
            millimetres("turned_mpjpe_mm", "MPJPE, turned", "smpl22"),
        ),
        published=tuple(papers.TOKENIZER),
        paper_data="AMASS; extreme: MOYO; 80 tokens, the whole training",
        directions=tuple(
            Direction(metric, ours[few], theirs[many], f"{few} tokens by parts lose less than {many} by convolutions")
            for few, many in itertools.pairwise(lengths)
            for metric in ("mpjpe_mm", "extreme_mpjpe_mm")
        ),
        prepared=(),
        notes=(
            f"512 codes, 64 channels, {steps} steps of 32 poses for all; one row has the paper's losses and target.",
        ),
        sized=False,
    )


def _single(examples: int) -> Ablation:
    everything = "all seven tasks"
    alone = {task: f"only {task.replace('_', ' ')}" for task in TASKS}
    variants = {everything: (*language_words(dict.fromkeys(TASKS, examples)), *eyes("clip", "pose"))}
    columns, directions = [], []
    for task, variant in alone.items():
        sees = eyes("clip", "pose") if SET_OF[task] in ("imagescript", "imagediff", "people") else ()
        variants[variant] = (*language_words({task: examples}), *sees)
        key, label = f"{task}.{METRIC_OF[task]}", task.replace("_", " ")
        directions.append(Direction(key, everything, variant, "learning all tasks helps this one"))
        if METRIC_OF[task] == "mpjpe_mm":
            columns.append(millimetres(key, label, "smpl24" if task == "pose_estimation" else "smpl22"))
        else:
            columns.append(percent(key, label))
    # The papers' is over other joints.
    columns.append(millimetres("pose_estimation.mpjpe_14_mm", "pose estimation, 14 joints", "hmr2_14"))
    return Ablation(
        name="single_task",
        title="One task alone or all together (UniPose †, Tab. 2 to 5)",
        kind="language",
        variants=variants,
        benchmarks={everything: TASKS, **{variant: (task,) for task, variant in alone.items()}},
        columns=tuple(columns),
        published=tuple(_published_single()),
        paper_data="each task's data",
        directions=tuple(directions),
        prepared=("tokenizer", "vision_clip", "vision_pose"),
        notes=("Poses: MPJPE in mm; texts: ROUGE-L. Every task is seen equally often alone and together.",),
    )


def _keypoints() -> tuple[Ablation, ...]:
    """KptLLM++ Tab. 13 to 16 and its change of decoding (Tab. 5), on split 1 of MP-100 or of the built-in things."""
    whole = ("launch/recipes/kptllm/tiny.yaml", "model.vision.things.folder={prepared}/keypoint_eyes")
    columns = (percent("pck_0.2_by_instance", "PCK@0.2"), Column("nme_pooled", "error / box side", "down", digits=3))

    def plan(
        name: str, title: str, better: str, worse: str, claim: str, words: tuple[str, ...], published: list[Row],
        benchmark: str = "keypoint_visual_1shot",
    ) -> Ablation:  # fmt: skip
        return Ablation(
            name=name,
            title=title,
            kind="keypoints",
            variants={better: whole, worse: (*whole, *words)},
            benchmarks={"": (benchmark,)},
            columns=columns,
            published=tuple(published),
            paper_data="MP-100 split 1",
            directions=(Direction("pck_0.2_by_instance", better, worse, claim),),
            prepared=("keypoint_eyes",),
        )

    both, shown = "visual and textual", "visual"
    large = ("model.new.hidden_size=256", "model.new.intermediate_size=704")
    return (
        plan(
            "keypoint_identify", "Identify, then detect (KptLLM++ Tab. 13)", "identify, then detect",
            "without identifying first", "naming a keypoint first helps to find it", ("keypoints.answers=position",),
            papers_keypoints.IDENTIFY,
        ),
        plan(
            "keypoint_extractor", "How a shown keypoint becomes a token (KptLLM++ Tab. 14)", "prompt feature extractor",
            "average pooling", "cross-attention reads more off the example", ("keypoints.prompts=average",),
            papers_keypoints.EXTRACTOR,
        ),
        Ablation(
            name="keypoint_combined",
            title="Shown alone, or told besides (KptLLM++ Tab. 15)",
            kind="keypoints",
            variants={both: whole, shown: whole},
            benchmarks={both: ("keypoint_combined",), shown: ("keypoint_visual_1shot",)},
            columns=columns,
            published=tuple(papers_keypoints.COMBINED),
            paper_data="MP-100 split 1",
            directions=(Direction("pck_0.2_by_instance", both, shown, "the name helps beside the example"),),
            prepared=("keypoint_eyes",),
            notes=("One and the same recipe: it learns both kinds of questions.",),
        ),
        plan(
            "keypoint_size", "Size of the language model (KptLLM++ Tab. 16)", "twice as wide", "as in the recipe",
            "a larger language model finds more", (), papers_keypoints.SIZE,
        ).with_words("twice as wide", large),
        plan(
            "keypoint_decoding", "Positions in digits, or read by a head (KptLLM++ Tab. 5)", "digits", "head",
            "digits are better than a head that regresses", ("keypoints.positions=regression",), [],
        ),
    )  # fmt: skip


def _published_single() -> list[Row]:
    tables = {task: rows for task, (_, rows) in papers.COMPREHENSION.items()}
    tables |= {"text_to_pose": papers.TEXT_TO_POSE, "pose_editing": papers.POSE_EDITING}
    tables["pose_estimation"] = papers.POSE_ESTIMATION["3DPW"]
    rows = []
    for method in ("UniPose", papers.SINGLE):
        found = {task: next(row for row in table if row.method == method).values for task, table in tables.items()}
        metrics = {**METRIC_OF, "pose_estimation": "mpjpe_14_mm"}
        rows.append(Row(method, "paper", {f"{task}.{key}": found[task][key] for task, key in metrics.items()}))
    return rows
