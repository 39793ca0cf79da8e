"""The pose sampler: legal, standing, not in itself, diverse, mirrored, repeatable. Motions: smooth and on the floor."""

import numpy as np
import pytest
import torch

from data.synth.angles import (
    HIGHEST_DEG,
    INDEX,
    KEYS,
    LOWEST_DEG,
    NUM_ANGLES,
    STANDING_DEG,
    angles_of,
    mirrored,
    to_rotmat,
    within_limits,
)
from data.synth.poses import draw_poses, sample_poses
from data.synth.posture import overlap_m, place, settle, touches_floor
from data.synth.primitives import BY_NAME, PRIMITIVES, Support, gait, tables
from data.synth.sequences import make_motion
from llmpose.body.model import load_body_model
from llmpose.body.pose import JOINT_NAMES, Pose, geodesic_deg, rotation_error
from llmpose.errors import UserError

JOINT = {name: index for index, name in enumerate(load_body_model("stand-in").joint_names)}


def joints_of(**angles: float) -> np.ndarray:
    """(24, 3) joints of somebody who faces the viewer, standing but for the named angles (`__` for the dot)."""
    row = angles_of({key.replace("__", "."): value for key, value in angles.items()})
    return place(to_rotmat(row[None])).joints_m[0]


# ---- angles ----------------------------------------------------------------------------------------------------------


def test_each_sign_means_what_its_name_says() -> None:
    """World frame: x is the body's left, -y its front, z up."""
    standing = joints_of()
    moved = {key: joints_of(**{key: 30.0}) - standing for key in ("left_hip__flex", "left_hip__abd", "right_hip__abd")}
    assert moved["left_hip__flex"][JOINT["left_knee"], 1] < -0.1
    assert moved["left_hip__abd"][JOINT["left_ankle"], 0] > 0.2
    assert moved["right_hip__abd"][JOINT["right_ankle"], 0] < -0.2
    assert (joints_of(left_knee__flex=90.0) - standing)[JOINT["left_ankle"], 1] > 0.2  # heel to the seat
    assert (joints_of(spine1__flex=25.0) - standing)[JOINT["head"], 1] < -0.1
    assert (joints_of(spine1__lean=10.0) - standing)[JOINT["head"], 0] < -0.05
    assert (joints_of(right_arm__swing=80.0) - standing)[JOINT["right_wrist"], 1] < -0.3
    assert (joints_of(right_arm__raise=0.0) - standing)[JOINT["right_wrist"], 0] < -0.2
    bent = joints_of(arm__raise=0.0, elbow__bend=90.0)
    assert bent[JOINT["left_wrist"], 1] < bent[JOINT["left_elbow"], 1] - 0.2


def test_a_heading_of_zero_faces_the_viewer_and_turns_left() -> None:
    row = np.tile(STANDING_DEG, (2, 1))
    poses = Pose(torch.from_numpy(to_rotmat(row, np.array([0.0, 90.0]))))
    torch.testing.assert_close(poses.yaw_deg, torch.tensor([0.0, 90.0]), atol=1e-3, rtol=0)
    nose = poses.rotmat[:, 0] @ torch.tensor([0.0, 0.0, 1.0])  # front at rest
    torch.testing.assert_close(nose, torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]), atol=1e-5, rtol=0)


def test_mirrored_angles_are_the_mirrored_pose() -> None:
    rng = np.random.default_rng(0)
    rows = rng.uniform(LOWEST_DEG, HIGHEST_DEG, (50, NUM_ANGLES))
    there = Pose(torch.from_numpy(to_rotmat(mirrored(rows))))
    expected = Pose(torch.from_numpy(to_rotmat(rows))).mirrored()
    assert geodesic_deg(there, expected).max() < 0.2
    np.testing.assert_array_equal(mirrored(mirrored(rows)), rows)


def test_one_side_can_differ_from_both() -> None:
    row = angles_of({"left_knee.flex": 90.0, "knee.flex": 10.0})
    assert (row[INDEX["left_knee.flex"]], row[INDEX["right_knee.flex"]]) == (90.0, 10.0)
    with pytest.raises(KeyError, match=r"knee\.bend"):
        angles_of({"knee.bend": 1.0})


# ---- primitives ------------------------------------------------------------------------------------------------------


def test_there_are_many_primitives_and_all_are_legal_and_distinct() -> None:
    low, high = tables()
    assert len(PRIMITIVES) >= 100
    assert len(BY_NAME) == len(PRIMITIVES)
    for table in (low, high):
        np.testing.assert_array_equal(table, within_limits(table))
    middle = (low + high) / 2
    keep = [i for i, p in enumerate(PRIMITIVES) if p.name not in ("walk", "run")]
    apart = np.abs(middle[keep][:, None] - middle[keep][None]).max(-1) + 999 * np.eye(len(keep))
    assert apart.min() >= 4


def test_every_primitive_can_be_done_without_pressing_limbs_into_each_other() -> None:
    low, high = tables()
    rng = np.random.default_rng(0)
    tries = 12
    rows = np.repeat(np.arange(len(PRIMITIVES)), tries)
    angles = low[rows] + rng.random((len(rows), 1)) * (high[rows] - low[rows])
    supports: list[Support] = [PRIMITIVES[row].support for row in rows]
    angles = settle(angles, supports, np.array([PRIMITIVES[row].flat for row in rows]))
    placement = place(to_rotmat(angles))
    allowed = np.array([PRIMITIVES[row].overlap_m for row in rows])
    good = (overlap_m(placement) <= allowed) & touches_floor(placement, supports)
    share = good.reshape(-1, tries).mean(1)
    assert share.min() > 0, PRIMITIVES[int(share.argmin())].name
    assert share.mean() > 0.8


def test_walking_swings_arms_against_legs_and_bends_the_leg_that_comes_forward() -> None:
    phase = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    walk = gait(phase, np.ones(60))
    legs = walk[:, INDEX["left_hip.flex"]] - walk[:, INDEX["right_hip.flex"]]
    arms = walk[:, INDEX["left_arm.swing"]] - walk[:, INDEX["right_arm.swing"]]
    assert np.corrcoef(legs, arms)[0, 1] < -0.99
    forward = np.gradient(walk[:, INDEX["left_hip.flex"]]) > 0
    knee = walk[:, INDEX["left_knee.flex"]]
    assert knee[forward].mean() > 2 * knee[~forward].mean()


# ---- sampling --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def batch():
    return draw_poses(1500, np.random.default_rng(3))


def test_the_same_seed_gives_the_same_poses_and_another_seed_others() -> None:
    (a, names), (b, same_names), (c, _) = sample_poses(40, 7), sample_poses(40, 7), sample_poses(40, 8)
    np.testing.assert_array_equal(a, b)
    assert names == same_names
    assert np.abs(a - c).max() > 0.5
    assert a.shape == (40, len(JOINT_NAMES), 3, 3)
    assert a.dtype == np.float32


def test_samples_are_rotations_within_joint_limits(batch) -> None:
    assert rotation_error(torch.from_numpy(batch.rotmat)).max() < 1e-5
    np.testing.assert_array_equal(batch.angles, within_limits(batch.angles))


def test_no_limb_goes_through_the_body(batch) -> None:
    overlap = overlap_m(place(batch.rotmat))
    assert (overlap <= batch.allowed_overlap_m + 1e-6).all()
    assert (overlap > 0.035).mean() < 0.03  # only the few primitives that cross limbs may


def test_overlap_measures_what_presses_together() -> None:
    """A forearm laid through the trunk must be found, and crossing it by hand gives the depth."""
    through = place(
        to_rotmat(angles_of({"right_arm.raise": -60, "right_elbow.bend": 120, "right_arm.twist": 85})[None])
    )
    assert overlap_m(through)[0] > 0.05
    assert overlap_m(place(to_rotmat(STANDING_DEG[None])))[0] == 0


def test_who_stands_on_both_feet_has_both_soles_on_the_floor(batch) -> None:
    """Measured on the whole mesh, not on the sampler's own points."""
    body = load_body_model("stand-in")
    rows = [i for i, support in enumerate(batch.supports) if support == "feet"][:150]
    with torch.no_grad():
        height = body(torch.from_numpy(batch.rotmat[rows])).vertices_m[..., 2]
    owner = body.weights.argmax(1)
    floor = height.min(1).values
    for side in ("left", "right"):
        members = torch.isin(owner, torch.tensor([JOINT[f"{side}_ankle"], JOINT[f"{side}_foot"]]))
        assert (height[:, members].min(1).values - floor).max() < 0.045
    # and the body stands upright above them: nobody hangs in the air sideways
    heads = place(batch.rotmat[rows]).joints_m[:, JOINT["head"], 2] - floor.numpy()
    assert (heads > 0.45).all()


def test_headings_are_uniform(batch) -> None:
    yaw = Pose(torch.from_numpy(batch.rotmat)).yaw_deg.numpy()
    upright = [i for i, support in enumerate(batch.supports) if support in ("feet", "foot", "step")]
    counts, _ = np.histogram(yaw[upright], bins=8, range=(-180, 180))
    assert counts.min() > 0.7 * counts.mean()


def test_samples_are_diverse(batch) -> None:
    """Joint positions without heading: the nearest of the others is centimetres away, the typical one decimetres."""
    joints = place(to_rotmat(batch.angles[:500])).joints_m.reshape(500, -1)
    distance = np.linalg.norm((joints[:, None] - joints[None]).reshape(500, 500, 24, 3), axis=-1).mean(-1)
    nearest = (distance + 9 * np.eye(500)).min(1)
    assert np.median(nearest) > 0.04
    assert np.median(distance) > 0.2
    assert len({name.split("+")[0].split("~")[0] for name in batch.names}) > 80


def test_left_and_right_are_equally_used(batch) -> None:
    left, right = (batch.angles[:, INDEX[f"{side}_arm.raise"]].mean() for side in ("left", "right"))
    assert abs(left - right) < 3


def test_categories_limit_the_choice() -> None:
    _, names = sample_poses(60, 0, categories=["sitting", "kneeling"])
    bases = {name.split("+")[0].split("~")[0] for name in names}
    assert {PRIMITIVES[BY_NAME[name]].category for name in bases} == {"sitting", "kneeling"}
    with pytest.raises(UserError, match="unknown pose category 'flying'"):
        sample_poses(1, 0, categories=["flying"])  # pyright: ignore[reportArgumentType]


def test_none_and_one_pose_can_be_drawn() -> None:
    assert sample_poses(0, 0)[0].shape == (0, 22, 3, 3)
    assert len(sample_poses(1, 0)[1]) == 1


def test_extreme_poses_reach_farther() -> None:
    usual, extreme = (draw_poses(400, np.random.default_rng(0), extreme=flag) for flag in (False, True))
    reach = [np.abs(b.angles - STANDING_DEG)[:, : KEYS.index("spine1.flex")].mean() for b in (usual, extreme)]
    assert reach[1] > 1.15 * reach[0]
    assert any(PRIMITIVES[BY_NAME[n]].is_extreme for n in extreme.names if n in BY_NAME)
    assert not any(PRIMITIVES[BY_NAME[n]].is_extreme for n in usual.names if n in BY_NAME)


# ---- motions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["walk", "standing", "repeat", "anything"])
def test_motions_are_smooth_and_stay_on_the_floor(theme: str) -> None:
    betas = np.random.default_rng(0).standard_normal(10).astype(np.float32)
    motion = make_motion(np.random.default_rng(5), frames=150, frames_per_second=30, betas=betas, theme=theme)  # pyright: ignore[reportArgumentType]
    assert motion.rotmat.shape == (150, 22, 3, 3)
    assert rotation_error(torch.from_numpy(motion.rotmat)).max() < 1e-5
    step = geodesic_deg(torch.from_numpy(motion.rotmat[1:]), torch.from_numpy(motion.rotmat[:-1]))
    assert step.max() < 25  # degrees in a thirtieth of a second
    assert np.abs(np.diff(motion.trans_m, axis=0)).max() < 0.08
    placement = place(motion.rotmat, np.broadcast_to(betas, (150, 10)))
    lowest = placement.floor_m + motion.trans_m[:, 2]
    assert np.abs(lowest).max() < 0.09
    assert np.median(np.abs(lowest)) < 0.02


def test_who_walks_goes_where_the_chest_points() -> None:
    betas = np.zeros(10, np.float32)
    motion = make_motion(np.random.default_rng(1), frames=200, frames_per_second=30, betas=betas, theme="walk")
    front = motion.rotmat[:, 0] @ np.array([0.0, 0.0, 1.0])
    velocity = np.gradient(motion.trans_m[:, :2], axis=0) * 30
    speed = np.linalg.norm(velocity, axis=1)
    cosine = (velocity * front[:, :2]).sum(1) / (speed * np.linalg.norm(front[:, :2], axis=1))
    assert np.median(cosine) > 0.97
    assert 0.5 < np.median(speed) < 2.2  # metres per second
