"""A pose is 22 rotations in SMPL's order: the root's, then those of 21 body joints, each relative to its parent.

Inside there are only rotation matrices. Axis-angle, 6D and quaternions live at the edges, and all go through `roma`.

Every pose is in one frame, the world frame "z-up":

    z up                      x = the viewer's right, y = away from the viewer, z = up, metres.
    |   y away                SMPL's rest frame is y-up with its front at +z, so a person who stands upright and
    |  /                      faces the viewer has the root rotation Rx(+90 deg): `Pose.rest()`.
    | /                       AMASS poses are in this frame as they are. A camera sees x right, y down, z forward,
    +------ x right           so what comes from a camera enters through `Pose.from_camera`.

Turning the root turns the body about its pelvis, as SMPL does; the translation is added afterwards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import roma
import torch
from torch import Tensor

from llmpose.body.rotations import Rot6dLayout, rot6d_to_rotmat, rotation_error, rotmat_to_rot6d
from llmpose.errors import UserError

JOINT_NAMES: tuple[str, ...] = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
)
"""The 22 joints of a pose. Models of the SMPL family add hands, jaw and eyes after these, never between them."""

NUM_JOINTS = len(JOINT_NAMES)


def swap_sides(name: str) -> str:
    """The same part on the other side: left_knee -> right_knee; what lies on the midline stays."""
    if name.startswith("left_"):
        return "right_" + name.removeprefix("left_")
    return "left_" + name.removeprefix("right_") if name.startswith("right_") else name


MIRROR_JOINTS: tuple[int, ...] = tuple(JOINT_NAMES.index(swap_sides(name)) for name in JOINT_NAMES)

Frame: TypeAlias = Literal["world", "camera", "y-up"]
"""world: z up (ours, AMASS). camera: x right, y down, z forward. y-up: x right, y up, z to the viewer (graphics)."""

_TO_WORLD: dict[str, tuple[tuple[float, float, float], ...]] = {
    "world": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "camera": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "y-up": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
}

ArrayLike: TypeAlias = Tensor | np.ndarray | Sequence[Any]

_NUM_BETAS = 10
ROTATION_TOLERANCE = 1e-3
"""How far R^T R may be from I, and det R from 1, in what counts as a rotation."""


@dataclass(frozen=True, eq=False)
class Pose:
    """One pose or a batch of them: the leading dimensions "..." are free and shared by all three fields."""

    rotmat: Tensor
    """(..., 22, 3, 3) float32, root in the world frame, the others relative to their parent."""
    betas: Tensor | None = None
    """(..., 10) SMPL shape coefficients."""
    trans_m: Tensor | None = None
    """(..., 3) SMPL's translation in metres, world frame; added after the root has turned the body about its pelvis."""

    def __post_init__(self) -> None:
        rotmat = _float32(self.rotmat)
        if rotmat.shape[-3:] != (NUM_JOINTS, 3, 3):
            raise UserError(f"a pose holds (..., {NUM_JOINTS}, 3, 3) rotation matrices, got {tuple(rotmat.shape)}")
        object.__setattr__(self, "rotmat", rotmat)
        for name, width in (("betas", _NUM_BETAS), ("trans_m", 3)):
            value = getattr(self, name)
            if value is None:
                continue
            value = _float32(value).to(rotmat.device)
            if value.shape[-1:] != (width,):
                raise UserError(f"{name} of a pose is (..., {width}), got {tuple(value.shape)}")
            try:
                value = value.expand(*self.batch_shape, width)
            except RuntimeError:
                raise UserError(
                    f"{name} {tuple(value.shape)} does not go with poses of batch shape {tuple(self.batch_shape)}"
                ) from None
            object.__setattr__(self, name, value)

    # ---- what it is -------------------------------------------------------------------------------------------------

    @property
    def batch_shape(self) -> torch.Size:
        return self.rotmat.shape[:-3]

    @property
    def device(self) -> torch.device:
        return self.rotmat.device

    def __len__(self) -> int:
        if not self.batch_shape:
            raise TypeError("a single pose has no length")
        return self.batch_shape[0]

    def __getitem__(self, index: Any) -> "Pose":
        """Index the leading dimensions only, as an array of poses."""
        if not self.batch_shape:
            raise TypeError("a single pose cannot be indexed")
        return self.mapped(lambda value: value[index])

    def __repr__(self) -> str:
        extras = [name for name in ("betas", "trans_m") if getattr(self, name) is not None]
        return f"Pose(batch_shape={tuple(self.batch_shape)}{''.join(', ' + name for name in extras)})"

    @classmethod
    def rest(cls, *batch_shape: int) -> "Pose":
        """The T-pose: upright, arms out, facing the viewer."""
        rotmat = torch.eye(3).repeat(NUM_JOINTS, 1, 1)
        rotmat[0] = torch.tensor(_TO_WORLD["y-up"])
        return cls(rotmat.repeat(*batch_shape, 1, 1, 1))

    @classmethod
    def stack(cls, poses: Sequence["Pose"]) -> "Pose":
        """A batch of single poses (or a bigger batch of equal batches). Shape or translation is kept if all have it."""
        if not poses:
            raise UserError("cannot stack an empty list of poses")

        def gather(name: str) -> Tensor | None:
            values = [getattr(pose, name) for pose in poses]
            return torch.stack(values) if all(value is not None for value in values) else None

        return cls(torch.stack([pose.rotmat for pose in poses]), gather("betas"), gather("trans_m"))

    def flat(self) -> "Pose":
        """All poses in one leading dimension; a single pose becomes a batch of one."""
        return self.mapped(lambda value: value.reshape(-1, *value.shape[len(self.batch_shape) :]))

    def to(self, device: torch.device | str) -> "Pose":
        return self.mapped(lambda value: value.to(device))

    def detach(self) -> "Pose":
        return self.mapped(lambda value: value.detach())

    def mapped(self, function: Callable[[Tensor], Tensor]) -> "Pose":
        """`function` of every tensor that is there: rotations, shape, translation."""
        return Pose(
            function(self.rotmat),
            None if self.betas is None else function(self.betas),
            None if self.trans_m is None else function(self.trans_m),
        )

    # ---- rotation formats at the edges ------------------------------------------------------------------------------

    @classmethod
    def from_axis_angle(
        cls, axis_angle: ArrayLike, betas: ArrayLike | None = None, trans_m: ArrayLike | None = None
    ) -> "Pose":
        """From rotation vectors in radians: (..., J, 3) or flat (..., 3 J), J >= 22 in the order of the SMPL family.

        66 numbers are our joints, 72 SMPL's (two rigid hands more), 156 SMPL-H's: what follows joint 22 is left out.
        """
        vectors = _floating(axis_angle)
        if vectors.shape[-1:] != (3,) or vectors.ndim < 2:
            vectors = _split_flat(vectors, width=3, what="axis-angle")
        return cls(roma.rotvec_to_rotmat(_first_joints(vectors, "axis-angle")), betas, trans_m)  # pyright: ignore

    def to_axis_angle(self) -> Tensor:
        """(..., 22, 3) rotation vectors in radians, angle at most pi."""
        return roma.rotmat_to_rotvec(self.rotmat)

    @classmethod
    def from_quaternion(
        cls, quaternion_xyzw: ArrayLike, betas: ArrayLike | None = None, trans_m: ArrayLike | None = None
    ) -> "Pose":
        """From (..., J, 4) quaternions, real part last (xyzw). Their length does not matter."""
        quaternion = _first_joints(_floating(quaternion_xyzw), "quaternion", width=4)
        return cls(roma.unitquat_to_rotmat(roma.quat_normalize(quaternion)), betas, trans_m)  # pyright: ignore

    def to_quaternion(self) -> Tensor:
        """(..., 22, 4) unit quaternions, real part last (xyzw)."""
        return roma.rotmat_to_unitquat(self.rotmat)

    @classmethod
    def from_rot6d(
        cls,
        rot6d: ArrayLike,
        betas: ArrayLike | None = None,
        trans_m: ArrayLike | None = None,
        *,
        layout: Rot6dLayout = "columns",
    ) -> "Pose":
        """From (..., J, 6) or flat (..., 6 J), made rotations by Gram-Schmidt. Ours is `columns`, see `Rot6dLayout`."""
        numbers = _floating(rot6d)
        if numbers.shape[-1:] != (6,) or numbers.ndim < 2:
            numbers = _split_flat(numbers, width=6, what="6D")
        return cls(rot6d_to_rotmat(_first_joints(numbers, "6D", width=6), layout=layout), betas, trans_m)  # pyright: ignore

    def to_rot6d(self, *, layout: Rot6dLayout = "columns") -> Tensor:
        """(..., 22, 6); ours is `columns`: the first column of the matrix, then the second."""
        return rotmat_to_rot6d(self.rotmat, layout=layout)

    # ---- frames -----------------------------------------------------------------------------------------------------

    @classmethod
    def from_camera(
        cls,
        rotmat: ArrayLike,
        betas: ArrayLike | None = None,
        trans_m: ArrayLike | None = None,
        *,
        pelvis_m: ArrayLike | None = None,
    ) -> "Pose":
        """From rotations whose root is in the camera frame (x right, y down, z forward), as image datasets hold."""
        return cls(rotmat, betas, trans_m).from_frame("camera", pelvis_m=pelvis_m)  # pyright: ignore

    def to_camera(self, *, pelvis_m: ArrayLike | None = None) -> "Pose":
        """The same body as a camera that looks along +y sees it; only for handing out, nothing of ours expects it."""
        return self.to_frame("camera", pelvis_m=pelvis_m)

    def from_frame(self, frame: Frame, *, pelvis_m: ArrayLike | None = None) -> "Pose":
        """Read this pose's root as given in `frame`, and return it in the world frame."""
        return self._turn(torch.tensor(_TO_WORLD[frame]), pelvis_m)

    def to_frame(self, frame: Frame, *, pelvis_m: ArrayLike | None = None) -> "Pose":
        """The root as seen from `frame`."""
        return self._turn(torch.tensor(_TO_WORLD[frame]).T, pelvis_m)

    def _turn(self, turn: Tensor, pelvis_m: ArrayLike | None) -> "Pose":
        """Change axes. A point R (v - p) + p + t (p: pelvis at rest) becomes C R (v - p) + C p + C t, so the new
        translation is C t + C p - p: it needs to know where the body model keeps its pelvis."""
        turn = turn.to(self.device, torch.float32)
        rotmat = torch.cat([turn @ self.rotmat[..., :1, :, :], self.rotmat[..., 1:, :, :]], dim=-3)
        trans_m = self.trans_m
        if trans_m is not None:
            if pelvis_m is None:
                raise UserError(
                    "turning a pose with a translation needs pelvis_m, the pelvis at rest: "
                    "body.rest_joints(pose.betas)[..., 0, :]; or drop the translation first"
                )
            pelvis = _float32(pelvis_m).to(self.device)
            trans_m = (trans_m + pelvis) @ turn.T - pelvis
        return Pose(rotmat, self.betas, trans_m)

    # ---- heading and sides ------------------------------------------------------------------------------------------

    @property
    def yaw_deg(self) -> Tensor:
        """(...) heading in degrees, 0 facing the viewer, turning left positive: the z angle of the root as Rz Ry Rx."""
        root = self.rotmat[..., 0, :, :]
        return torch.rad2deg(torch.atan2(root[..., 1, 0], root[..., 0, 0]))

    def turned(self, degrees: Tensor | float) -> "Pose":
        """Turn the body about the vertical through its own pelvis, to its left when positive."""
        angle = torch.deg2rad(torch.as_tensor(degrees, dtype=torch.float32, device=self.device)).expand(
            self.batch_shape
        )
        up = torch.tensor([0.0, 0.0, 1.0], device=self.device)
        root = roma.rotvec_to_rotmat(angle[..., None] * up)[..., None, :, :] @ self.rotmat[..., :1, :, :]
        return replace(self, rotmat=torch.cat([root, self.rotmat[..., 1:, :, :]], dim=-3))

    def without_yaw(self) -> "Pose":
        """Facing the viewer: R = Rz Ry Rx keeps its y and x angles, the z angle becomes 0 (as PoseScript does)."""
        return self.turned(-self.yaw_deg)

    def mirrored(self) -> "Pose":
        """As seen in a mirror: left and right swap, x turns its sign."""
        flip = torch.tensor([-1.0, 1.0, 1.0], device=self.device)
        order = torch.tensor(MIRROR_JOINTS, device=self.device)
        rotmat = self.rotmat.index_select(-3, order) * flip[:, None] * flip
        return Pose(rotmat, self.betas, None if self.trans_m is None else self.trans_m * flip)

    # ---- checks and files -------------------------------------------------------------------------------------------

    def check(self, source: str = "pose") -> "Pose":
        """Itself, if all numbers are finite and all matrices rotations to 1e-3; else a UserError naming `source`."""
        for name in ("rotmat", "betas", "trans_m"):
            value = getattr(self, name)
            if value is not None and not torch.isfinite(value).all():
                raise UserError(f"{source}: {name} holds NaN or infinite numbers{_where(~torch.isfinite(value))}")
        wrong = rotation_error(self.rotmat) > ROTATION_TOLERANCE
        if wrong.any():
            raise UserError(
                f"{source}: not a rotation{_where(wrong)}: R^T R differs from I, or det R is not 1, by more than "
                f"{ROTATION_TOLERANCE:g}; give rotation matrices, or axis-angle as 22 x 3 numbers"
            )
        return self

    def save(self, path: str | Path) -> None:
        """Write .npz (also readable as AMASS), .npy (rotation matrices only) or .json (axis-angle by joint name)."""
        from llmpose.body.pose_files import save_pose

        save_pose(self, Path(path))

    @classmethod
    def load(cls, path: str | Path, *, frame: int | None = None, axes: Frame = "world") -> "Pose":
        """Read .npz (ours, AMASS, SMPL-X style), .npy (..., 22, 3, 3) or .json, checked.

        `frame` picks one pose of a sequence; `axes` says which frame the file's root is in ("world": z up, as AMASS).
        """
        from llmpose.body.pose_files import load_pose

        return load_pose(Path(path), frame=frame, axes=axes)


def geodesic_deg(a: "Pose | Tensor", b: "Pose | Tensor") -> Tensor:
    """Angle in degrees between rotations (..., 3, 3); for two poses one angle per joint (..., 22)."""
    a, b = (value.rotmat if isinstance(value, Pose) else value for value in (a, b))
    return torch.rad2deg(roma.rotmat_geodesic_distance(a, b))


def export_mesh(path: str | Path, vertices_m: Tensor | np.ndarray, faces: Tensor | np.ndarray, **options: Any) -> None:
    """Write a mesh in the world frame as .glb, .obj or .ply: see `llmpose.body.mesh.export_mesh`."""
    from llmpose.body import mesh

    mesh.export_mesh(path, vertices_m, faces, **options)


def _floating(value: ArrayLike) -> Tensor:
    """Conversions run in the precision that came in; the result is float32 in any case."""
    tensor = torch.as_tensor(np.asarray(value) if isinstance(value, (list, tuple)) else value)
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def _float32(value: ArrayLike) -> Tensor:
    return _floating(value).float()


def _split_flat(flat: Tensor, *, width: int, what: str) -> Tensor:
    size = flat.shape[-1] if flat.ndim else 0
    if size % width or size < NUM_JOINTS * width:
        raise UserError(
            f"{what} poses are (..., {NUM_JOINTS}, {width}) or flat (..., {NUM_JOINTS * width}), "
            f"got {tuple(flat.shape)}"
        )
    return flat.unflatten(-1, (size // width, width))


def _first_joints(values: Tensor, what: str, *, width: int = 3) -> Tensor:
    if values.ndim < 2 or values.shape[-1] != width or values.shape[-2] < NUM_JOINTS:
        raise UserError(f"{what} poses are (..., {NUM_JOINTS}, {width}), got {tuple(values.shape)}")
    return values[..., :NUM_JOINTS, :]


def _where(wrong: Tensor) -> str:
    """' (first at [3, 7], 2 of 66)': enough to find it."""
    first = wrong.nonzero()[0].tolist()
    return f" (first at {first}, {int(wrong.sum())} of {wrong.numel()})" if first else ""
