"""Muon: what an update is, which weights it moves, and who may ask for it."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from llmpose.errors import UserError
from train.muon import QUINTIC, ROUNDS, STEP_SIZE, Muon, is_muons, orthogonal
from train.optim import parameter_groups
from train.recipe import Optim


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (16, 16)])
def test_an_update_keeps_the_directions_of_a_matrix_and_evens_their_sizes(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(shape[0], 12, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(shape[1], 12, generator=generator)).Q
    matrix = left @ torch.diag(torch.linspace(0.2, 3, 12)) @ right.T
    found = orthogonal(torch.stack([matrix, -matrix]))
    sizes = torch.linalg.svdvals(found[0])[:12]
    assert sizes.min() > 0.6
    assert sizes.max() < 1.3
    aligned = left.T @ found[0] @ right
    assert (aligned - torch.diag(aligned.diagonal())).abs().max() < 1e-4, "no direction is turned into another"
    torch.testing.assert_close(found[1], -found[0])


@pytest.mark.parametrize("shape", [(24, 48), (90, 16), (20, 30), (16, 16)])
def test_rounds_gathered_in_a_small_matrix_are_the_rounds(shape: tuple[int, int]) -> None:
    """Long matrices take another way than short ones; both are a x + b x³ + c x⁵, five times over."""
    matrix = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = matrix / matrix.norm(dim=(1, 2), keepdim=True)
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        left, sizes, right = torch.linalg.svd(expected, full_matrices=False)
        expected = left @ torch.diag_embed(a * sizes + b * sizes**3 + c * sizes**5) @ right
    torch.testing.assert_close(orthogonal(matrix), expected, atol=1e-5, rtol=0)


def _model() -> nn.Module:
    model = nn.Module()
    model.words = nn.Embedding(6, 4)
    model.layers = nn.ModuleList([nn.Linear(4, 8), nn.Linear(8, 4)])
    model.head = nn.Linear(4, 6)
    return model


def test_repeated_layers_are_known_by_name() -> None:
    matrix, kernel, bias = (nn.Parameter(torch.zeros(shape)) for shape in ((3, 3), (3, 3, 2, 2), (3,)))
    assert is_muons("model.language_model.layers.11.mlp.up_proj.weight", matrix)
    assert is_muons("transformer.h.0.attn.c_attn.weight", matrix), "GPT-2's name for them"
    assert is_muons("encoder.layer.3.attention.query.weight", matrix), "DINOv2's"
    assert is_muons("vit.backbone.stem.3.0.weight", kernel)
    assert not is_muons("vit.rotations.rot6d.0.weight", matrix), "a head is no repeated layer"
    assert not is_muons("vit.backbone.stem.0.0.weight", kernel), "sees pixels"
    assert not is_muons("model.embed_tokens.weight", matrix)
    assert not is_muons("layers.0.norm.bias", bias)


def test_a_kernel_moves_as_the_matrix_of_its_outputs() -> None:
    moves = []
    for shape in ((6, 2, 3, 3), (6, 18)):
        weight = nn.Parameter(torch.zeros(shape))
        weight.grad = torch.randn(6, 18, generator=torch.Generator().manual_seed(0)).view(shape)
        Muon([{"params": [weight], "muon": True}], lr=0.1).step()
        moves.append(weight.detach().view(6, 18))
    assert torch.equal(*moves)
    assert moves[0].abs().min() > 0


def _step(model: nn.Module, optim: Optim, kind: Callable[..., torch.optim.Optimizer]) -> dict[str, torch.Tensor]:
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    groups = parameter_groups(model, {}, optim, {name for name, value in before.items() if value.ndim > 1})
    optimizer = kind(groups, lr=optim.lr, betas=optim.betas)
    hidden = model.words(torch.arange(6))
    for layer in model.layers:
        hidden = torch.tanh(layer(hidden))
    nn.functional.cross_entropy(model.head(hidden), torch.arange(6).flip(0)).backward()
    optimizer.step()
    return {name: value.detach() - before[name] for name, value in model.named_parameters()}


def test_matrices_of_layers_move_by_muon_and_all_else_by_adamw() -> None:
    moves = {}
    for name in ("adamw", "muon"):
        torch.manual_seed(0)
        optim = Optim(name=name, lr=0.01, weight_decay=0.0)  # type: ignore[arg-type]
        moves[name] = _step(_model(), optim, Muon if name == "muon" else torch.optim.AdamW)
    layers = {"layers.0.weight", "layers.1.weight"}
    for name, move in moves["muon"].items():
        assert torch.equal(move, moves["adamw"][name]) == (name not in layers), name
    for name in layers:
        size = moves["muon"][name].pow(2).mean().sqrt().item()
        assert size == pytest.approx(STEP_SIZE * 0.01, rel=0.3), "as large as an AdamW step usually is"


def test_muon_without_layers_is_refused() -> None:
    with pytest.raises(UserError, match="none trains here; use adamw"):
        parameter_groups(nn.Sequential(nn.Linear(2, 2)), {}, Optim(name="muon"), set())
