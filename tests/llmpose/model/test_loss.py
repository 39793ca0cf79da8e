"""One cross-entropy in chunks: the value and the gradients of the plain one, in a fraction of the memory."""

import pytest
import torch
import torch.nn.functional as F
from tiny_models import make_example, random_pixels, stack_rows, tiny_model

from llmpose.model import loss as loss_module
from llmpose.model.batch import IGNORE
from llmpose.model.loss import cross_entropy_sums


@pytest.mark.parametrize("num_chunks", [None, 1, 3, 50])
def test_chunks_change_neither_value_nor_gradients(num_chunks: int | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loss_module, "CHUNK_BYTES", 4 * 11 * 5)
    torch.manual_seed(0)
    head = torch.nn.Linear(6, 11)
    labels = torch.randint(0, 11, (23,))
    expected_grads, grads = [], []
    for plain in (True, False):
        hidden = torch.randn(23, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
        head.zero_grad()
        if plain:
            value = F.cross_entropy(head(hidden), labels, reduction="sum")
        else:
            sums = cross_entropy_sums(head, hidden, labels, labels % 2, 2, vocab_size=11, num_chunks=num_chunks)
            value = sums.loss
        value.backward()
        (expected_grads if plain else grads).extend([value.detach(), hidden.grad, head.weight.grad.clone()])
    torch.testing.assert_close(grads, expected_grads)


def test_sums_by_task_add_up_to_the_whole():
    torch.manual_seed(0)
    head, hidden = torch.nn.Linear(6, 11), torch.randn(40, 6)
    labels, tasks = torch.randint(0, 11, (40,)), torch.randint(0, 3, (40,))
    sums = cross_entropy_sums(head, hidden, labels, tasks, 4, vocab_size=11)
    token_loss = F.cross_entropy(head(hidden), labels, reduction="none")
    for task in range(3):
        torch.testing.assert_close(sums.task_loss[task], token_loss[tasks == task].sum())
        hits = (head(hidden).argmax(-1) == labels)[tasks == task].sum()
        assert int(sums.task_correct[task]) == int(hits)
    assert sums.task_count.tolist() == [*torch.bincount(tasks, minlength=4).tolist()]
    torch.testing.assert_close(sums.task_loss.sum(), sums.loss)


def test_a_row_without_labels_keeps_every_parameter_in_the_graph():
    model = tiny_model().train()
    batch = stack_rows([make_example("tqit", seed=1)])
    batch.labels = torch.full_like(batch.labels, IGNORE)
    out = model(**batch, pixels=random_pixels(1), num_items_in_batch=7)
    assert out.loss.item() == 0.0
    out.loss.backward()
    without = [n for n, p in model.named_parameters() if p.grad is None and "vision" not in n]
    assert without == []


def test_accumulated_micro_batches_equal_one_batch():
    """Token-weighted: a batch of two targets must not weigh as much as one of twenty."""
    model = tiny_model(vision=False).train()
    examples = [make_example("tta", seed=1), make_example("tqaqta", seed=2)]
    whole = stack_rows(examples, side="right")
    count = int((whole.labels != IGNORE).sum())
    model(**whole).loss.backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    for example in examples:
        model(**stack_rows([example]), num_items_in_batch=count).loss.backward()
    torch.testing.assert_close([p.grad for p in model.parameters()], expected)


def test_a_rank_without_images_runs_the_same_modules_as_the_others():
    model = tiny_model().train()
    batch = stack_rows([make_example("tta", seed=3)])
    model(**batch).loss.backward()
    assert all(p.grad is not None and (p.grad == 0).all() for p in model.projector.parameters())
    model.zero_grad()
    model(**batch, image_features=torch.zeros(0, 4, 28)).loss.backward()
    assert all(p.grad is not None for p in model.projector.parameters())
    assert all(p.grad is None for p in model.vision.parameters())
    model.projector.requires_grad_(False)
    model.vision.requires_grad_(False)
    calls: list[int] = []
    model.projector.register_forward_hook(lambda *_: calls.append(1))
    model(**batch)
    assert calls == []
