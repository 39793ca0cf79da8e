"""One file per table of the papers. `BENCHMARKS` names them all; each is made when it is asked for."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eval.benchmarks.base import Benchmark


def _from(module: str, name: str, *arguments: str) -> "Callable[[], Benchmark]":
    return lambda: getattr(import_module(f"eval.benchmarks.{module}"), name)(*arguments)


CROSS = "keypoint_cross_"
_GROUPS = ("human_body", "human_face", "vehicle", "furniture")
_KEYPOINT_SETS = (
    *("coco", "ap10k", "ap10k_canidae", "ap10k_felidae", "humanart"),
    *("macaque", "animal_kingdom", "carfusion", "animalpose"),
)
BENCHMARKS: "dict[str, Callable[[], Benchmark]]" = {
    "pose_to_text": _from("comprehension", "Comprehension", "pose_to_text", "Pose to text"),
    "pose_diff": _from("comprehension", "Comprehension", "pose_diff", "Pose difference"),
    "image_to_text": _from("comprehension", "Comprehension", "image_to_text", "Image to text"),
    "image_diff": _from("comprehension", "Comprehension", "image_diff", "Image difference"),
    "text_to_pose": _from("text_to_pose", "TextToPose"),
    "pose_estimation": _from("pose_estimation", "PoseEstimation"),
    "pose_estimation_3dpw": _from("pose_estimation", "PoseEstimation", "3DPW"),
    "pose_estimation_h36m": _from("pose_estimation", "PoseEstimation", "H36M"),
    "pose_editing": _from("pose_editing", "PoseEditing"),
    "retrieval": _from("retrieval", "Retrieval", "pose"),
    "pair_retrieval": _from("retrieval", "Retrieval", "pair"),
    "pose_decoding": _from("pose_decoding", "PoseDecoding"),
    "tokenizer": _from("tokenizer", "Tokenizer"),
    "keypoint_visual_1shot": _from("keypoints", "VisualPrompts", "1"),
    "keypoint_visual_5shot": _from("keypoints", "VisualPrompts", "5"),
    "keypoint_textual": _from("keypoints", "TextualPrompts"),
    "keypoint_semantic": _from("keypoints", "Semantics"),
    "keypoint_combined": _from("keypoints", "CombinedPrompts"),
    **{f"{CROSS}{name}": _from("keypoints", "CrossGroups", name) for name in _GROUPS},
    **{f"keypoints_{name}": _from("keypoint_sets", "DetectionSet", name) for name in _KEYPOINT_SETS},
    "keypoint_training": _from("keypoint_speed", "KeypointSpeed", "training"),
    "keypoint_decoding": _from("keypoint_speed", "KeypointSpeed", "decoding"),
}
SPLITS: "dict[str, Callable[[], Benchmark]]" = {
    f"keypoint_visual_{shots}shot_split{split}": _from("keypoints", "VisualPrompts", shots, split)
    for split in "2345"
    for shots in "15"
}
"""The other splits of MP-100: each for a model of its own, so they are no part of "all"."""


def cross_benchmark(name: str) -> "Callable[[], Benchmark] | None":
    """keypoint_cross_bird and its like: any group that `llmpose data prepare mp100 --option without=…` keeps apart."""
    group = name.removeprefix(CROSS)
    return _from("keypoints", "CrossGroups", group) if name.startswith(CROSS) and group.isidentifier() else None
