"""The speed script's two contenders compute the same thing where they should."""

import torch

from eval.speed.tokenizer import Ours, Peer, rows
from llmpose.body.model import load_body_model
from tokenizer_vq import PoseTokenizer, PoseTokenizerConfig


def test_peer_and_ours_agree_on_the_losses_of_the_same_weights() -> None:
    torch.manual_seed(0)
    shape = {"design": "conv", "num_pose_tokens": 20, "codebook_size": 16, "hidden_size": 16, "code_width": 8}
    config = PoseTokenizerConfig(**shape, quantizer="ema", rot6d_layout="rows")
    body = load_body_model()
    peer, ours = Peer(config, body), Ours(config, body, mesh=True)
    ours.tokenizer.encoder.net.load_state_dict(peer.encoder.state_dict())
    ours.tokenizer.decoder.load_state_dict(peer.decoder.state_dict())
    codebook = ours.tokenizer.quantizer.library._codebook
    codebook.embed.copy_(peer.codebook.table[None])
    codebook.initted.fill_(True)
    poses = PoseTokenizer(PoseTokenizerConfig(hidden_size=16)).eval().decode(torch.randint(2048, (3, 40)))
    assert torch.allclose(peer(poses), ours(poses), rtol=1e-4)


def test_every_row_is_measured() -> None:
    found = rows("cpu", width=16, codes=16, batch=2, repeats=1)
    assert len(found) == 4
    assert found[0]["times_the_peer"] == 1.0
    assert all(row["seconds"] > 0 for row in found)
