"""Three quantizers behind one face, and the count of codes in use."""

import pytest
import torch
from vector_quantize_pytorch import FSQ

from tokenizer_vq import PoseTokenizerConfig
from tokenizer_vq.quantizer import codebook_usage, make_quantizer

OPTIONS = {
    "ema": {"quantizer": "ema", "codebook_size": 16, "code_width": 8, "num_pose_tokens": 10},
    "residual": {
        "quantizer": "residual",
        "codebook_size": 16,
        "code_width": 8,
        "num_pose_tokens": 20,
        "num_residual": 2,
    },
    "fsq": {"quantizer": "fsq", "codebook_size": 64, "code_width": 8, "num_pose_tokens": 10},
}


@pytest.mark.parametrize("name", list(OPTIONS))
def test_values_of_codes_are_what_forward_gave(name: str) -> None:
    torch.manual_seed(0)
    config = PoseTokenizerConfig(**OPTIONS[name])
    quantizer = make_quantizer(config)
    latents = torch.randn(32, config.latent_length, 8)
    quantizer.train()
    quantizer(latents)
    quantizer.eval()
    out = quantizer(latents)
    assert out.codes.shape == (32, config.num_pose_tokens)
    assert torch.allclose(quantizer.values(out.codes), out.values, atol=1e-6)


def test_dead_codes_come_back_to_life() -> None:
    """The latents move into one corner: codes that lie elsewhere are given places among them, if revival is on."""
    usage = {}
    for threshold in (0, 2):
        torch.manual_seed(0)
        options = {**OPTIONS["ema"], "dead_code_threshold": threshold, "ema_decay": 0.9}
        quantizer = make_quantizer(PoseTokenizerConfig(**options)).train()
        quantizer(torch.randn(64, 10, 8) * 3)
        for _ in range(100):
            quantizer(torch.randn(64, 10, 8) * 0.1 + 5)
        quantizer.eval()
        usage[threshold], _ = codebook_usage(quantizer(torch.randn(64, 10, 8) * 0.1 + 5).codes, 16)
    assert usage[0] <= 0.2
    assert usage[2] >= 0.5


def test_the_grid_is_the_librarys() -> None:
    torch.manual_seed(0)
    quantizer = make_quantizer(PoseTokenizerConfig(quantizer="fsq", codebook_size=64))
    latents = torch.randn(4, 40, 2) * 2
    values, codes = FSQ(levels=[8, 8])(latents)
    out = quantizer(latents)
    assert torch.equal(out.values, values)
    assert torch.equal(out.codes, codes.long())


def test_usage_by_hand() -> None:
    usage, perplexity = codebook_usage(torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]), 8)
    assert usage == 0.5
    assert perplexity == pytest.approx(4.0)
