"""The loss by fused kernels: chosen where they can run, and the chunked loss in value, gradients and what is logged."""

import inspect
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from liger_stand_in import MODULE, LigerFusedLinearCrossEntropyLoss
from tiny_models import FIRST_POSE, OPEN, VOCABULARY, make_example, stack_rows, tiny_model
from torch import nn

from llmpose.model import modeling
from llmpose.model.adapters import add_adapter
from llmpose.model.head import MatrixHead, Squash, as_matrix
from llmpose.model.loss import choose_loss, cross_entropy_sums, describe_loss

ROWS = [*range(OPEN, 34), *range(FIRST_POSE, VOCABULARY)]


@pytest.fixture
def liger(monkeypatch: pytest.MonkeyPatch) -> type[LigerFusedLinearCrossEntropyLoss]:
    """`import liger_kernel` finds the stand-in; `calls` counts."""
    for name in ("liger_kernel", "liger_kernel.transformers", MODULE):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules[MODULE].LigerFusedLinearCrossEntropyLoss = LigerFusedLinearCrossEntropyLoss  # type: ignore[attr-defined]
    monkeypatch.setattr(LigerFusedLinearCrossEntropyLoss, "calls", 0)
    return LigerFusedLinearCrossEntropyLoss


def test_liger_runs_on_cuda_where_it_is_new_enough_and_every_rank_has_the_whole_head():
    assert choose_loss("cuda", liger="0.8.5", is_sharded=False) == "liger"
    assert choose_loss("cuda", liger="0.8.1", is_sharded=False) == "chunked"
    assert choose_loss("cuda", liger=None, is_sharded=False) == "chunked"
    assert choose_loss("cuda", liger="0.8.5", is_sharded=True) == "chunked"
    assert choose_loss("cpu", liger="0.8.5", is_sharded=False) == "chunked"


def test_the_log_says_which_loss_runs_and_why_not_the_other():
    assert describe_loss("cuda", liger="0.8.5", is_sharded=False) == "liger-kernel 0.8.5, fused"
    assert describe_loss("cpu", liger="0.8.5", is_sharded=False) == "in chunks"
    assert "not installed" in describe_loss("cuda", liger=None, is_sharded=False)
    assert "0.8.1 is older than 0.8.2" in describe_loss("cuda", liger="0.8.1", is_sharded=False)
    assert "sharded" in describe_loss("cuda", liger="0.8.5", is_sharded=True)


@pytest.mark.parametrize("squash", [Squash(), Squash(0.25), Squash(2.0, 5.0)])
@pytest.mark.usefixtures("liger")
def test_fused_and_chunked_losses_agree_in_sums_per_task_and_gradients(squash: Squash):
    torch.manual_seed(0)
    head = nn.Linear(6, 11)
    labels, tasks = torch.randint(0, 11, (23,)), torch.randint(0, 3, (23,))
    found: list[list[torch.Tensor]] = []
    for matrix in (None, MatrixHead(head.weight, head.bias, squash)):
        hidden = torch.randn(23, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
        head.zero_grad()
        sums = cross_entropy_sums(
            lambda part: squash(head(part)), hidden, labels, tasks, 3, vocab_size=11, num_chunks=4, matrix=matrix
        )
        sums.loss.backward()
        grads = [hidden.grad, head.weight.grad.clone(), head.bias.grad.clone()]
        found.append([sums.loss.detach(), sums.task_loss, sums.task_correct, sums.task_count, *grads])
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("family", ["llama", "gemma2"])
@pytest.mark.parametrize("tied", [False, True])
def test_an_adapted_model_learns_the_same_from_the_fused_loss(
    liger: type[LigerFusedLinearCrossEntropyLoss], family: str, tied: bool, monkeypatch: pytest.MonkeyPatch
):
    batch = stack_rows([make_example("tqtqa", seed=1), make_example("tta", seed=2, task="b")], side="right")
    found: list[Any] = []
    for kernel in ("chunked", "liger"):
        monkeypatch.setattr(modeling, "choose_loss", lambda *_, kernel=kernel, **__: kernel)
        model = add_adapter(
            tiny_model(family, vision=False, text={"tie_word_embeddings": tied}), rank=4, alpha=8, rows=ROWS
        )
        out = model(**batch)
        out.loss.backward()
        grads = {name: part.grad for name, part in model.named_parameters() if part.requires_grad}
        found.append([out.loss.detach(), out.ratios, grads])
    assert liger.calls == 1
    torch.testing.assert_close(found[0], found[1])


def test_a_head_that_computes_more_than_a_matrix_is_left_to_its_module():
    model = tiny_model(vision=False)
    assert as_matrix(model.get_output_embeddings(), Squash()) is not None
    wrapped: Any = add_adapter(model, rank=4, alpha=8, rows=ROWS)
    assert as_matrix(wrapped.get_base_model().get_output_embeddings(), Squash()) is not None
    with wrapped.disable_adapter():
        assert as_matrix(wrapped.get_base_model().get_output_embeddings(), Squash()) is None
    lora: Any = add_adapter(tiny_model(vision=False), rank=4, alpha=8, targets=r"language\.lm_head")
    assert as_matrix(lora.get_base_model().get_output_embeddings(), Squash()) is None


@pytest.mark.usefixtures("liger")
def test_no_label_at_all_needs_no_kernel():
    head = nn.Linear(6, 11)
    none = torch.zeros(0, dtype=torch.int64)
    sums = cross_entropy_sums(
        head, torch.zeros(0, 6), none, none, 2, vocab_size=11, matrix=MatrixHead(head.weight, head.bias, Squash())
    )
    assert sums.loss.item() == 0.0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_the_real_kernel_agrees_with_the_chunked_loss_on_a_gpu():
    real: Any = pytest.importorskip(MODULE).LigerFusedLinearCrossEntropyLoss
    theirs = inspect.signature(real.__init__).parameters
    assert list(theirs)[1:12] == list(inspect.signature(LigerFusedLinearCrossEntropyLoss.__init__).parameters)[1:]
    torch.manual_seed(0)
    head, labels = nn.Linear(64, 1000, bias=False).cuda(), torch.randint(0, 1000, (300,), device="cuda")
    tasks, found = labels % 3, []
    for matrix in (None, MatrixHead(head.weight, None, Squash())):
        hidden = torch.randn(300, 64, device="cuda", generator=torch.Generator("cuda").manual_seed(1)).requires_grad_()
        head.zero_grad()
        sums = cross_entropy_sums(head, hidden, labels, tasks, 3, vocab_size=1000, num_chunks=4, matrix=matrix)
        (sums.loss / 7).backward()
        found.append([sums.loss.detach(), sums.task_loss, sums.task_correct, hidden.grad, head.weight.grad.clone()])
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)
