"""Body errors against numbers worked by hand (five joints, in metres)."""

import pytest
import torch

from eval.metrics.base import bootstrap_mean, mean_and_variance
from eval.metrics.body import PROTOCOLS, BodyError, JointProtocol, pve_mm, similarity_align

P = torch.tensor([[0.01, 0, -0.01], [0.12, 0.02, 0.03], [-0.08, 0, 0], [0.07, 0.40, 0.15], [0.03, -0.47, 0.10]])
G = torch.tensor([[0, 0, 0], [0.1, 0, 0.02], [-0.1, 0.01, -0.02], [0.05, 0.45, 0.10], [-0.02, -0.5, 0.15]])
P, G = P.double()[None], G.double()[None]
FIVE = JointProtocol("five", "smpl24", (0, 1, 2, 3, 4), (0,), "worked example")
MID_HIP = JointProtocol("five_mid_hip", "smpl24", (0, 1, 2, 3, 4), (1, 2), "worked example")
RAW = JointProtocol("five_raw", "smpl24", (0, 1, 2, 3, 4), None, "worked example")


def test_the_worked_example_of_mpjpe_and_pa_mpjpe() -> None:
    assert RAW.mpjpe_mm(P, G).item() == pytest.approx(44.8877, abs=1e-4)
    assert FIVE.mpjpe_mm(P, G).item() == pytest.approx(41.1875, abs=1e-4)
    assert MID_HIP.mpjpe_mm(P, G).item() == pytest.approx(40.0059, abs=1e-4)
    assert FIVE.pa_mpjpe_mm(P, G).item() == pytest.approx(15.3937, abs=1e-4)


def test_a_mirrored_body_is_not_aligned_away() -> None:
    mirrored = G * torch.tensor([-1.0, 1, 1])
    assert FIVE.mpjpe_mm(G, mirrored).item() == pytest.approx(108.0, abs=1e-4)
    assert FIVE.pa_mpjpe_mm(G, mirrored).item() == pytest.approx(92.0284, abs=1e-4)


def test_the_prediction_is_scaled_onto_the_truth_and_not_the_other_way() -> None:
    assert FIVE.pa_mpjpe_mm(P / 4, G).item() == pytest.approx(15.3937, abs=1e-4)
    assert FIVE.pa_mpjpe_mm(G, P / 4).item() == pytest.approx(3.5306, abs=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_errors_do_not_depend_on_the_batch_size(batch: int) -> None:
    generator = torch.Generator().manual_seed(0)
    predicted, true = torch.randn(batch, 5, 3, generator=generator), torch.randn(batch, 5, 3, generator=generator)
    together = FIVE.pa_mpjpe_mm(predicted, true)
    alone = torch.cat([FIVE.pa_mpjpe_mm(predicted[i : i + 1], true[i : i + 1]) for i in range(batch)])
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_a_perfect_prediction_scores_zero_in_every_protocol(name: str) -> None:
    protocol = PROTOCOLS[name]
    joints = torch.randn(3, {"smpl24": 24, "h36m17": 17, "extra19": 19}[protocol.source], 3)
    metric = BodyError(name)
    metric.update(["a", "b", "c"], joints, joints)
    result = metric.compute()
    assert result["mpjpe_mm"] == 0
    assert result["pa_mpjpe_mm"] < 1e-3
    assert "pve_mm" not in result
    assert len(protocol.scored) == int("".join(c for c in name.split("_")[-1] if c.isdigit()))


def test_the_hmr2_protocol_scores_twelve_limb_points_neck_and_head_about_the_mpii_pelvis() -> None:
    # Of HMR2's 44 points the extra ones begin at 25; 25..37 and 43 are scored, 39 is the root.
    protocol = PROTOCOLS["hmr2_14"]
    assert [25 + k for k in protocol.scored] == [*range(25, 38), 43]
    assert protocol.root == (39 - 25,)


def test_a_joint_that_the_truth_lacks_does_not_count() -> None:
    broken = G.clone()
    broken[0, 4] = -2.0
    valid = torch.tensor([[True, True, True, True, False]])
    without = JointProtocol("four", "smpl24", (0, 1, 2, 3), (0,), "")
    assert FIVE.mpjpe_mm(P, broken, valid).item() == pytest.approx(without.mpjpe_mm(P, G).item())
    assert FIVE.pa_mpjpe_mm(P, broken, valid).item() == pytest.approx(without.pa_mpjpe_mm(P, G).item())


def test_pve_takes_each_mesh_about_its_own_pelvis() -> None:
    vertices = torch.randn(2, 50, 3)
    pelvis = torch.randn(2, 3)
    shift = torch.tensor([0.5, -1.0, 2.0])
    assert pve_mm(vertices + shift, vertices, pelvis + shift, pelvis).max() < 1e-3
    assert pve_mm(vertices + 0.03 * torch.tensor([1.0, 0, 0]), vertices, pelvis, pelvis)[0].item() == pytest.approx(
        30, abs=1e-2
    )


def test_alignment_recovers_a_similarity_transform() -> None:
    body = torch.randn(1, 14, 3).double()
    turn, _ = torch.linalg.qr(torch.randn(3, 3).double())
    turn = turn * torch.linalg.det(turn).sign()
    assert torch.allclose(similarity_align(0.3 * body @ turn.T + 1.0, body), body, atol=1e-9)


def test_two_piles_merged_are_one_pile_and_a_record_counts_once() -> None:
    joints, noise = torch.randn(6, 24, 3), 0.1 * torch.randn(6, 24, 3)
    ids = [f"r{i}" for i in range(6)]
    whole, first, second = BodyError(), BodyError(), BodyError()
    whole.update(ids, joints + noise, joints)
    first.update(ids[:4], (joints + noise)[:4], joints[:4])
    second.update(ids[3:], (joints + noise)[3:], joints[3:])
    assert second.merge(first).compute() == pytest.approx(whole.compute())
    assert second.compute()["n"] == 6


def test_the_bootstrap_interval_holds_the_mean_and_narrows_with_more_records() -> None:
    few = bootstrap_mean(torch.randn(30).numpy())
    many = bootstrap_mean(torch.randn(3000).numpy())
    assert few.low < few.value < few.high
    assert many.high - many.low < 0.3 * (few.high - few.low)
    # For a normal variable the 95 % interval of a mean is about +-1.96 / sqrt(n).
    assert many.high - many.low == pytest.approx(2 * 1.96 / 3000**0.5, rel=0.15)


def test_mean_and_variance_over_seeds() -> None:
    assert mean_and_variance([{"a": 1.0}, {"a": 2.0}, {"a": 6.0}]) == {"a": (3.0, 7.0)}
