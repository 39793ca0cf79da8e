"""Packing and branches: nothing gets lost, nothing leaks, and the model cannot tell the difference."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "llmpose" / "model"))
from tiny_models import IMAGE, NUM_IMAGE_TOKENS, make_example, random_pixels, stack_rows, tiny_model

from data.branches import digest, merge, merge_alike, shared_prefix
from data.collate import Collator, pack
from llmpose.errors import UserError
from llmpose.model.batch import IGNORE, Example
from llmpose.model.layout import PADDING, draw

KINDS = ["tptqa", "tqta", "ttta", "tpa", "tqapta", "tta", "tqtqa", "tttttttta", "tpptq"]


def some_examples() -> list[Example]:
    return [make_example(kinds, seed=i, task="abc"[i % 3], record_id=f"r{i}") for i, kinds in enumerate(KINDS)]


def gradients(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def assert_same_loss_and_gradients(model, one, other) -> None:
    losses, grads = [], []
    for batch in (one, other):
        model.zero_grad()
        out = model(**batch)
        out.loss.backward()
        losses.append(out.sums)
        grads.append(gradients(model))
    assert int(losses[0].count) == int(losses[1].count)
    torch.testing.assert_close(losses[0].loss, losses[1].loss)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("attn", ["auto", "sdpa"])  # auto cuts a row into its samples, the others mask it
@pytest.mark.parametrize("row_tokens", [33, 64, 400])
def test_packed_rows_have_the_loss_and_gradients_of_padded_ones(row_tokens: int, attn: str):
    examples = some_examples()
    model = tiny_model(vision=False, attn=attn)
    packed = Collator(row_tokens=row_tokens, multiple_of=8)(examples)
    assert_same_loss_and_gradients(model, packed, stack_rows(examples, side="right"))


def test_every_token_of_every_example_is_in_its_row_once():
    examples = some_examples()
    batch = Collator(row_tokens=64, tasks=("a", "b", "c"))(examples)
    found = {}
    for r, ids in enumerate(batch.record_ids):
        for s, record_id in enumerate(ids):
            found[record_id] = (r, batch.sample[r] == s)
    for i, example in enumerate(examples):
        row, at = found[f"r{i}"]
        assert torch.equal(batch.token_ids[row][at], example.token_ids)
        assert torch.equal(batch.labels[row][at], example.labels)
        assert torch.equal(batch.position[row][at], example.position)
        assert batch.task[row][at].unique().tolist() == [i % 3]
    assert int((batch.sample != PADDING).sum()) == sum(len(example) for example in examples)
    assert batch.num_examples == len(examples)


def test_block_numbers_are_unique_in_a_row_and_follow_their_pose():
    batch = Collator(row_tokens=400)(some_examples())
    for row in range(len(batch.block)):
        numbers = [n for n in batch.block[row].tolist() if n]
        runs = [n for i, n in enumerate(numbers) if i == 0 or numbers[i - 1] != n]
        assert len(runs) == len(set(runs))
    assert int((batch.block > 0).sum()) == sum(int((e.block > 0).sum()) for e in some_examples())


def test_packing_fills_rows_and_balances_them():
    rows = pack([10, 20, 30, 40, 50, 60], 70)
    loads = sorted(sum((10, 20, 30, 40, 50, 60)[i] for i in row) for row in rows)
    assert loads == [70, 70, 70]
    generator = np.random.default_rng(0)
    sizes = generator.integers(20, 200, 64).tolist()
    loads = [sum(sizes[i] for i in row) for row in pack(sizes, 512)]
    assert max(loads) <= 512
    assert sum(sizes) / (len(loads) * max(loads)) > 0.97


def test_an_example_longer_than_a_row_is_an_error_that_names_the_record():
    with pytest.raises(UserError, match=r"record r7 \(b\): the example takes 27 tokens, a row holds 24"):
        Collator(row_tokens=24)(some_examples()[7:8])
    empty = replace(
        make_example("t"), **{n: torch.zeros(0, dtype=torch.int64) for n in ("token_ids", "labels", "block")}
    )
    with pytest.raises(UserError, match="0 tokens"):
        Collator(row_tokens=24)([empty])


def with_prefix(prefix: str, tails: list[str], seed: int = 3) -> list[Example]:
    """Examples that begin with the very same tokens and images."""
    head = make_example(prefix, seed=seed)
    out = []
    for i, tail in enumerate(tails):
        rest = make_example(tail, seed=50 + i, task="xy"[i % 2], record_id=f"q{i}")
        length = torch.arange(len(head) + len(rest))
        block = torch.where(rest.block > 0, rest.block + head.block.max(), 0)
        out.append(
            replace(
                rest,
                token_ids=torch.cat([head.token_ids, rest.token_ids]),
                labels=torch.cat([head.labels, rest.labels]),
                block=torch.cat([head.block, block]),
                branch=torch.zeros_like(length),
                position=length,
                images=[*head.images, *rest.images],
            )
        )
    return out


@pytest.mark.parametrize("attn", ["auto", "sdpa"])
def test_branches_have_the_loss_and_gradients_of_separate_sequences(attn: str):
    model = tiny_model(attn=attn)
    separate = with_prefix("tipt", ["tqa", "ta", "tqtq", "ta"])
    merged = merge_alike(separate, IMAGE, NUM_IMAGE_TOKENS, at_least=8)
    assert len(merged) == 1
    assert len(merged[0].images) == 1
    assert len(merged[0]) < 0.6 * sum(len(example) for example in separate)
    pixels = random_pixels(1)
    one = Collator(row_tokens=256)([replace(merged[0], images=[])])
    other = stack_rows(separate, side="right")
    one.pixels, other.pixels = pixels, {name: value.expand(4, -1, -1, -1) for name, value in pixels.items()}
    assert_same_loss_and_gradients(model, one, other)


def test_branches_among_packed_examples_keep_their_tasks_apart():
    separate = with_prefix("ttt", ["ta", "tqa"])
    collator = Collator(row_tokens=256, branches=True, image_id=IMAGE, num_image_tokens=NUM_IMAGE_TOKENS)
    batch = collator([*separate, make_example("tqta", seed=9, task="z")])
    assert batch.tasks == ("x", "y", "z")
    model = tiny_model(vision=False)
    sums = model(**batch).sums
    alone = [model(**Collator(row_tokens=256, tasks=("x", "y", "z"))([e])).sums.task_loss for e in separate]
    torch.testing.assert_close(sums.task_loss[:2], (alone[0] + alone[1])[:2])
    assert sums.task_count.tolist() == [3, 9, 9]


def test_the_prefix_ends_before_labels_poses_and_other_pictures():
    share = lambda examples: shared_prefix(examples, IMAGE, NUM_IMAGE_TOKENS)  # noqa: E731
    answered = [make_example("tta", seed=3)] * 2
    assert share(answered) == 5  # the last word of the question predicts the answer: it belongs to the branch
    same = with_prefix("tpt", ["ta", "ta"])
    assert share(same) == 13
    cut = [replace(example, token_ids=example.token_ids.clone()) for example in same]
    cut[1].token_ids[6] = 59 if cut[1].token_ids[6] != 59 else 58
    assert share(cut) == 4  # they differ inside the pose, which is kept whole
    pictures = with_prefix("tit", ["ta", "ta"])
    assert share(pictures) == 10
    other = [pictures[0], replace(pictures[1], images=[np.zeros_like(pictures[1].images[0])])]
    assert share(other) == 3


def test_what_shares_most_goes_together_although_all_begin_alike():
    """A system message before two poses, each asked thrice, and before a lone question."""
    system = make_example("tttttt", seed=1)
    first, second = (with_prefix("tp", ["ta", "tta", "ta"], seed=seed) for seed in (7, 8))
    lone = make_example("tta", seed=9)
    everything = [continued(system, one) for pair in zip(first, second, strict=True) for one in pair]
    everything.append(continued(system, lone))
    merged = merge_alike(everything, IMAGE, NUM_IMAGE_TOKENS, at_least=8)
    assert sorted(len(one.branch_tasks) for one in merged) == [0, 3, 3]
    for one in merged[:2]:
        assert int(one.branch.eq(0).sum()) >= len(system) + len(make_example("tp"))
    model = tiny_model(vision=False)
    rows = Collator(row_tokens=512)
    assert_same_loss_and_gradients(model, rows(merged), rows(everything))
    same_system = merge_alike([continued(system, make_example("tta", seed=k)) for k in range(4)], -1, 0, at_least=8)
    assert [len(one.branch_tasks) for one in same_system] == [4]  # nothing else to share


def continued(head: Example, rest: Example) -> Example:
    columns = {
        name: torch.cat([getattr(head, name), getattr(rest, name)]) for name in ("token_ids", "labels", "branch")
    }
    columns["block"] = torch.cat([head.block, torch.where(rest.block > 0, rest.block + head.block.max(), 0)])
    return replace(rest, **columns, position=torch.arange(len(head) + len(rest)))


def test_pictures_behind_a_system_message_are_each_asked_their_own_questions():
    asked = [one for seed in (7, 8) for one in with_prefix("titt", ["ta"] * 3, seed=seed)]
    pictures = [one.images[0] + seed for seed, one in zip((0, 0, 0, 1, 1, 1), asked, strict=True)]
    system = make_example("ttttt", seed=1)
    everything = [
        replace(continued(system, one), images=[picture]) for one, picture in zip(asked, pictures, strict=True)
    ]
    merged = merge_alike(everything, IMAGE, NUM_IMAGE_TOKENS, at_least=8)
    assert [(len(one.branch_tasks), len(one.images)) for one in merged] == [(3, 1), (3, 1)]


def test_what_is_merged_still_fits_a_row():
    asked = with_prefix("ttttt", ["ta"] * 9)
    collator = Collator(row_tokens=48, branches=True, image_id=IMAGE, num_image_tokens=NUM_IMAGE_TOKENS)
    alone, together = collator.__class__(row_tokens=48)(asked), collator(asked)
    assert together.token_ids.shape[1] <= 48
    assert int((together.sample >= 0).sum()) < int((alone.sample >= 0).sum())
    assert_same_loss_and_gradients(tiny_model(vision=False), alone, together)


def test_branches_are_drawn_as_branches():
    merged = merge(with_prefix("t", ["t", "t"]), 3, IMAGE, NUM_IMAGE_TOKENS)
    assert draw(merged.layout())[-1] == "###...###"
    assert merged.position.tolist() == [0, 1, 2, 3, 4, 5, 3, 4, 5]


def test_equal_pixels_are_one_picture_whatever_they_come_from():
    from PIL import Image

    array = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert digest(array) == digest(Image.fromarray(array)) == digest(array.copy())
    assert digest(array) != digest(array.reshape(2, 8, 3))


def test_images_come_in_the_order_of_their_placeholders():
    examples = [make_example(kinds, seed=i, record_id=f"r{i}") for i, kinds in enumerate(["ti", "titi", "t", "ittt"])]
    for i, example in enumerate(examples):
        example.images = [np.full((2, 2, 3), 10 * i + j, np.uint8) for j in range(len(example.images))]
    seen: list[int] = []

    def pixels(images: list) -> dict[str, torch.Tensor]:
        seen.extend(int(image[0, 0, 0]) for image in images)
        return {"clip": torch.zeros(len(images), 3, 16, 16)}

    batch = Collator(row_tokens=24, pixels=pixels)(examples)
    order = [int(record_id[1:]) for row in batch.record_ids for record_id in row]
    assert seen == [10 * i + j for i in order for j in range(len(examples[i].images))]


def test_the_first_label_of_a_row_is_never_counted_twice_by_trainers_that_shift():
    batch = Collator(row_tokens=64)(some_examples())
    assert (batch.labels[:, 0] == IGNORE).all()
