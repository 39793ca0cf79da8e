"""The tokenizer's table on a few poses and tokenizers of random weights."""

from pathlib import Path

import numpy as np
import pytest
import roma
import torch

from data.records import Record, RecordSet
from eval.benchmarks.base import Bench, MissingNeed
from eval.benchmarks.tokenizer import Tokenizer, tokenizers, turn_anyhow
from tests.eval.little import check_joints
from tokenizer_vq import PoseTokenizer, PoseTokenizerConfig


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DATA with twelve held-out poses and six extreme ones; RUNS with two tokenizers."""
    folder = tmp_path_factory.mktemp("tokenizer")
    generator = torch.Generator().manual_seed(0)
    for name, split, count in (("amass", "test", 12), ("moyo", "val", 6)):
        poses = roma.rotvec_to_rotmat(0.3 * torch.randn(count, 22, 3, generator=generator)).numpy()
        rows = [Record(id=f"{name}{n}", source=name, split=split, pose_rotmat=pose) for n, pose in enumerate(poses)]
        RecordSet.write(folder / "data" / name, rows, source=name)
    for tokens in (10, 20):
        torch.manual_seed(tokens)
        config = PoseTokenizerConfig(num_pose_tokens=tokens, codebook_size=16, hidden_size=16, num_layers=1)
        PoseTokenizer(config).save_pretrained(folder / "runs" / str(tokens) / "model")
    return folder


def bench(root: Path, out: Path, **more: object) -> Bench:
    return Bench(data_dir=root / "data", out_dir=out, **more)  # type: ignore[arg-type]


def test_a_folder_of_runs_is_a_curve(root: Path, tmp_path: Path) -> None:
    result = Tokenizer().run(bench(root, tmp_path, tokenizer_dir=root / "runs"))
    assert result is not None
    ours = [row for row in result.table.rows if row.kind == "ours"]
    assert [(row.method, row.values["num_pose_tokens"]) for row in ours] == [("10", 10), ("20", 20)]
    keys = {column.key for column in result.table.columns}
    assert all(keys <= set(row.values) and np.isfinite(list(row.values.values())).all() for row in ours)
    assert all(row.values["pa_mpjpe_mm"] <= row.values["mpjpe_mm"] for row in ours)
    check_joints(result.table)
    assert result.table.row("the mean pose").values["mpjpe_mm"] > 0
    assert result.table.row("with orientation noise").values["extreme_mpjpe_mm"] == 23.1
    assert set(result.scores) == {f"amass{n}" for n in range(12)}
    assert (tmp_path / "tables" / "tokenizer.md").is_file()


def test_the_error_is_that_of_encoding_and_decoding(root: Path, tmp_path: Path) -> None:
    from eval.metrics.body import PROTOCOLS

    run = root / "runs" / "20"
    measured = bench(root, tmp_path, tokenizer_dir=run)
    result = Tokenizer().run(measured)
    assert result is not None
    tokenizer = PoseTokenizer.from_pretrained(run / "model").eval()
    poses = torch.from_numpy(np.array(RecordSet.load(root / "data" / "amass").poses()))
    rebuilt = tokenizer.decode(tokenizer.encode(poses))
    error = PROTOCOLS["smpl22"].mpjpe_mm(measured.joints(rebuilt), measured.joints(poses)).mean().item()
    assert result.table.row("this tokenizer").values["mpjpe_mm"] == pytest.approx(error, rel=1e-5)


def test_without_extreme_poses_the_rest_is_measured(root: Path, tmp_path: Path) -> None:
    measured = bench(root, tmp_path, tokenizer_dir=root / "runs" / "20", sets={"moyo": str(root / "nowhere")})
    result = Tokenizer().run(measured)
    assert result is not None
    assert "extreme_mpjpe_mm" not in result.table.row("this tokenizer").values
    assert any("No extreme poses" in note for note in result.table.notes)


def test_turning_changes_roots_only_and_is_seeded() -> None:
    poses = torch.eye(3).repeat(5, 22, 1, 1)
    turned = turn_anyhow(poses, 0)
    assert torch.equal(turned[:, 1:], poses[:, 1:])
    assert torch.allclose(torch.linalg.det(turned[:, 0]), torch.ones(5), atol=1e-5)
    assert torch.equal(turned, turn_anyhow(poses, 0))
    assert not torch.equal(turned, turn_anyhow(poses, 1))


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingNeed, match="tokenizer: pass --tokenizer DIR"):
        Tokenizer().run(bench(root, tmp_path))
    with pytest.raises(MissingNeed, match=r"amass is not there; it holds held-out poses"):
        Tokenizer().run(Bench(data_dir=tmp_path, out_dir=tmp_path, tokenizer_dir=root / "runs"))
    with pytest.raises(MissingNeed, match="no tokenizer in it"):
        tokenizers(tmp_path)
