"""Given poses that carry their places in the block: only they change, alike in a row, in a pack and behind a cache."""

import torch
from tiny_models import CLOSE, FIRST_POSE, NUM_POSE_TOKENS, OPEN, as_row, make_example, stack_rows, tiny_model
from transformers import DynamicCache

GIVEN = torch.tensor([[5, OPEN, *[FIRST_POSE + 3] * NUM_POSE_TOKENS, CLOSE, 6]])


def test_the_same_code_means_something_else_at_another_place() -> None:
    plain, slotted = (tiny_model(vision=False, pose_slots=slots) for slots in (False, True))
    same, different = plain.embed(GIVEN)[0, 2:-2], slotted.embed(GIVEN)[0, 2:-2]
    assert torch.equal(same[0], same[1])
    assert not torch.allclose(different[0], different[1])
    assert torch.equal(plain.embed(GIVEN)[0, [0, 1, -2, -1]], slotted.embed(GIVEN)[0, [0, 1, -2, -1]])


def test_two_given_poses_count_their_places_each() -> None:
    model = tiny_model(vision=False, pose_slots=True)
    twice = model.embed(torch.cat([GIVEN, GIVEN], 1))[0]
    assert torch.equal(twice[: GIVEN.shape[1]], twice[GIVEN.shape[1] :])


def test_a_batch_of_strangers_changes_nothing() -> None:
    model = tiny_model(vision=False, pose_slots=True)
    examples = [make_example("tpta", seed=1), make_example("tttptpa", seed=2)]
    batch = stack_rows(examples)
    together = model(**batch, return_logits=True).logits
    for row, example in enumerate(examples):
        alone = model(**as_row(example), return_logits=True).logits[0]
        torch.testing.assert_close(together[row][batch.sample[row] >= 0], alone, atol=1e-5, rtol=1e-5)


def test_a_pose_behind_a_cached_prefix_is_read_as_in_one_piece() -> None:
    model = tiny_model(vision=False, pose_slots=True)
    row = as_row(make_example("tptpa", seed=3))
    whole = model(**row, return_logits=True).logits
    second = int(torch.nonzero(row["block"][0] == 2)[0])
    cache, past, parts = DynamicCache(), None, []
    for part in (slice(0, second), slice(second, None)):
        out = model(
            **{k: v[:, part] for k, v in row.items() if k != "labels"},
            cache=cache,
            past=past,
            return_logits=True,
        )
        past = out.layout
        parts.append(out.logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)
