"""For every test question the training record that looks most alike: by pose, by words, by both, or by picture."""

import numpy as np

from eval import baselines
from eval.benchmarks.base import Bench
from eval.benchmarks.taskset import TaskSet

MAX_IMAGES = 500
"""Training pictures that are opened for a look-up."""


def nearest_training(bench: Bench, test: TaskSet, train: TaskSet) -> np.ndarray:
    """(N,) indices into `train`: what a lookup table would answer with."""
    if test.input_name == "text":
        features = baselines.TextFeatures(train.first_texts())
        return baselines.nearest(features(test.first_texts()), features(train.first_texts()))
    if test.task == "pose_editing":
        return _nearest_edit(bench, test, train)
    if "image" in test.input_name:
        few = np.linspace(0, len(train) - 1, min(MAX_IMAGES, len(train))).round().astype(np.int64)
        return few[baselines.nearest(_pictures(test, range(len(test))), _pictures(train, few))]
    return baselines.nearest(_bodies(bench, test), _bodies(bench, train))


def _nearest_edit(bench: Bench, test: TaskSet, train: TaskSet) -> np.ndarray:
    """By pose A and by the instruction, which count the same: two training pairs drawn at random are as far apart in
    the one as in the other (words may have at most that distance, where they have nothing in common).
    """
    words = baselines.TextFeatures(train.first_texts())
    known, asked = (baselines.joint_features(bench.joints(items.pair_poses()[0])) for items in (train, test))
    # Centred and of mean squared length 1, as words are of length 1.
    middle = known.mean(axis=0)
    size = np.sqrt(((known - middle) ** 2).sum(axis=1).mean()).clip(1e-9)
    bank = np.concatenate([(known - middle) / size, words(train.first_texts())], axis=1)
    query = np.concatenate([(asked - middle) / size, words(test.first_texts())], axis=1)
    return baselines.nearest(query, bank)


def _bodies(bench: Bench, items: TaskSet) -> np.ndarray:
    poses = items.pair_poses() if items.is_pair else (items.poses(),)
    return np.concatenate([baselines.joint_features(bench.joints(pose)) for pose in poses], axis=1)


def _pictures(items: TaskSet, indices: "range | np.ndarray") -> np.ndarray:
    """Thumbnails; those of A and B behind one another for pairs."""
    shown = [items.images(int(i)) for i in indices]
    return np.concatenate([baselines.image_features(column) for column in zip(*shown, strict=True)], axis=1)
