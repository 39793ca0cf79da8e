"""Checkpoints as files: every published format is read, and nothing that is in one is run."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from llmpose.errors import UserError
from llmpose.model.weights.checkpoint import read_tensors


class Bomb:
    """What an unsafe reader would run."""

    def __reduce__(self):
        return (Path.touch, (Path(self.target),))

    def __init__(self, target: str) -> None:
        self.target = target


def test_reading_a_checkpoint_runs_nothing_that_is_in_it(tmp_path: Path):
    target = tmp_path / "harm"
    expected = torch.randn(3, 4)
    torch.save(
        {"state_dict": {"w": expected, "b": torch.nn.Parameter(expected)}, "x": Bomb(str(target))}, tmp_path / "a.ckpt"
    )
    found = read_tensors(tmp_path / "a.ckpt")
    assert not target.exists()
    torch.testing.assert_close(found["w"], expected)
    torch.testing.assert_close(found["b"], expected)
    for dtype in (torch.bfloat16, torch.float16, torch.int64):
        torch.save({"w": expected.to(dtype)}, tmp_path / "b.pt")
        assert torch.equal(read_tensors(tmp_path / "b.pt")["w"], expected.to(dtype))


def test_old_and_new_file_formats_and_prefixes(tmp_path: Path):
    value = torch.randn(5)
    torch.save({"net.w": value, "other": value}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file({"net.w": value}, tmp_path / "new.safetensors")
    for name in ("old.pth", "new.safetensors"):
        assert torch.equal(read_tensors(tmp_path / name, prefix="net.")["w"], value)
    with pytest.raises(UserError, match=r"no tensors whose names begin with 'body\.'"):
        read_tensors(tmp_path / "old.pth", prefix="body.")


def test_a_broken_checkpoint_is_one_line(tmp_path: Path):
    (tmp_path / "a.pt").write_bytes(b"PK\x03\x04 nothing")
    (tmp_path / "b.pt").write_bytes(pickle.dumps({"a": 1})[:-3])
    (tmp_path / "c.safetensors").write_bytes(b"nothing")
    for name in ("a.pt", "b.pt", "c.safetensors"):
        with pytest.raises(UserError, match="not a checkpoint that can be read"):
            read_tensors(tmp_path / name)
    with pytest.raises(UserError, match="no such checkpoint file"):
        read_tensors(tmp_path / "c.pt")
