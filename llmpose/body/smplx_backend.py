"""The second backend: the `smplx` package does the skinning.

It is installed by the user (`pip install 'llmpose[smplx]'`, non-commercial research licence), imported only here and
only when asked for. It is given the arrays that our own reader has checked, so it never opens a file from outside.
"""

import contextlib
import io
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llmpose.body.files import BodyData
from llmpose.body.model import BodyModel, BodyOutput, Hands
from llmpose.body.pose import NUM_JOINTS as NUM_POSE_JOINTS
from llmpose.body.pose import Pose
from llmpose.errors import MissingExtra, UserError


class SmplxBodyModel(BodyModel):
    """`BodyModel` whose `forward` is computed by `smplx`. The joints-only path stays ours: smplx has none."""

    def __init__(self, data: BodyData) -> None:
        super().__init__(data)
        self.layer = _layer(data)

    def _build(
        self,
        pose: Pose | Tensor,
        betas: Tensor | None,
        trans_m: Tensor | None,
        hands: Hands | Tensor,
        vertex_ids: Tensor | None,
    ) -> BodyOutput:
        rotmat, betas, trans_m = self._inputs(pose, betas, trans_m, hands)
        batch = rotmat.shape[:-3]
        rotmat = rotmat.reshape(-1, self.num_joints, 3, 3)
        count = len(rotmat)
        zeros = torch.zeros(1, device=self.device)
        arguments: dict[str, Tensor] = {
            "global_orient": rotmat[:, :1],
            "betas": zeros.expand(count, 10) if betas is None else betas.reshape(count, -1),
            "transl": zeros.expand(count, 3) if trans_m is None else trans_m.reshape(count, 3),
        }
        if self.kind == "smpl":
            arguments["body_pose"] = rotmat[:, 1:]
        else:
            arguments["body_pose"] = rotmat[:, 1:NUM_POSE_JOINTS]
            arguments["left_hand_pose"] = rotmat[:, -30:-15]
            arguments["right_hand_pose"] = rotmat[:, -15:]
        if self.kind == "smplx":
            for joint, name in enumerate(("jaw_pose", "leye_pose", "reye_pose"), start=NUM_POSE_JOINTS):
                arguments[name] = rotmat[:, joint : joint + 1]
            arguments["expression"] = zeros.expand(count, 10)
        with torch.autocast(rotmat.device.type, enabled=False):
            output: Any = self.layer(**arguments, pose2rot=False)
        joints = (
            output.joints[:, : self.num_joints].unflatten(0, batch) if batch else output.joints[0, : self.num_joints]
        )
        vertices = output.vertices.unflatten(0, batch) if batch else output.vertices[0]
        return BodyOutput(joints, vertices if vertex_ids is None else vertices.index_select(-2, vertex_ids))


def _layer(data: BodyData) -> torch.nn.Module:
    try:
        import smplx
    except ImportError:
        raise MissingExtra("smplx", "smplx", "the smplx backend") from None
    num_vertices, num_joints = data.weights.shape
    if num_vertices != (10475 if data.kind == "smplx" else 6890):  # smplx picks landmarks by vertex number
        raise UserError(f"{data.source}: {num_vertices} vertices; the smplx backend takes only the published meshes")
    pose_directions = data.pose_directions
    if pose_directions is None:
        pose_directions = np.zeros((num_vertices, 3, 9 * (num_joints - 1)), np.float32)
    arrays: dict[str, Any] = {
        "v_template": data.vertices_m,
        "f": data.faces,
        "shapedirs": data.shape_directions,
        "posedirs": pose_directions,
        "J_regressor": data.joint_regressor,
        "weights": data.weights,
        "kintree_table": np.stack([np.array(data.parents), np.arange(num_joints)]),
    }
    if data.kind != "smpl":
        # Hands come as rotations: neither their mean nor their components take part, but smplx wants them there.
        for side in "lr":
            arrays[f"hands_mean{side}"], arrays[f"hands_components{side}"] = np.zeros(45), np.eye(45)
    # It prints a warning on every load of a file with ten shapes.
    with contextlib.redirect_stdout(io.StringIO()):
        if data.kind == "smpl":
            return smplx.SMPLLayer("", data_struct=SimpleNamespace(**arrays))
        if data.kind == "smplh":
            return smplx.SMPLHLayer("", data_struct=SimpleNamespace(**arrays))
        return _smplx_layer(smplx, arrays)


def _smplx_layer(smplx: Any, arrays: dict[str, Any]) -> torch.nn.Module:
    """SMPL-X is only read from a file, so it gets one, of checked arrays. Its face landmarks are not used here."""
    expressions = np.zeros((len(arrays["v_template"]), 3, 10))
    arrays["shapedirs"] = np.concatenate([arrays["shapedirs"], expressions], axis=-1)
    arrays |= {"lmk_faces_idx": np.zeros(51, np.int64), "lmk_bary_coords": np.full((51, 3), 1 / 3)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "SMPLX_NEUTRAL.npz"
        np.savez(path, **arrays)
        return smplx.SMPLXLayer(str(path), ext="npz")
