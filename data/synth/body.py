"""The stand-in body: a free person in SMPL's file format, made from nothing.

    surface -> mesh -> order of vertices -> weights, shapes, regressors -> llmpose/body/assets/standin_smpl.npz

The library ships the result, so it needs none of the tools used here. Make it again with `python -m data.synth.body`;
`--smpl-files DIR` also writes it as SMPL_NEUTRAL.pkl and SMPLH_NEUTRAL.npz, for programs that read SMPL's own files.
"""

import argparse
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from data.synth.body_mesh import body_mesh
from data.synth.body_rig import (
    SMPL_NAMES,
    SMPLH_NAMES,
    joint_regressor,
    order_vertices,
    parents,
    smpl_weights,
    smplh_weights,
)
from data.synth.body_shape import shape_directions
from data.synth.body_surface import body_surface, rest_joints
from llmpose.body.files import ASSET, BodyData, Kind, read_stand_in
from llmpose.body.landmarks import FINGERS
from llmpose.body.pose_files import write_whole

_RELAXED_CURL = (0.25, 0.35, 0.25)
"""Bend of a relaxed finger at its three joints, in radians."""


def make_stand_in() -> dict[str, np.ndarray]:
    """The asset's arrays: SMPL's keys, the mirror table, and SMPL-H's weights and regressor under `smplh_`."""
    mesh = order_vertices(body_mesh(body_surface()))
    shapes = shape_directions(mesh.vertices_m)
    weights = smpl_weights(mesh)
    asset: dict[str, np.ndarray] = {
        "v_template": mesh.vertices_m.astype(np.float32),
        "f": mesh.faces.astype(np.uint16),
        "mirror": mesh.mirror.astype(np.uint16),
        "shapedirs": shapes.astype(np.float32),
    }
    for prefix, names, skin in (("", SMPL_NAMES, weights), ("smplh_", SMPLH_NAMES, smplh_weights(mesh, weights))):
        regressor = joint_regressor(mesh, shapes, shape_directions(rest_joints(names)), names)
        asset[f"{prefix}J_regressor"] = regressor.astype(np.float32)
        asset[f"{prefix}weights"] = skin.astype(np.float32)
        asset[f"{prefix}kintree_table"] = np.stack([parents(names), np.arange(len(names))]).astype(np.int16)
    left, right = _relaxed_hands()
    return asset | {"smplh_hands_meanl": left, "smplh_hands_meanr": right}


def _relaxed_hands() -> tuple[np.ndarray, np.ndarray]:
    """(45,) axis-angle of each hand at ease. A left finger curls about -z (palms face down in the T-pose)."""
    left = np.zeros((len(FINGERS), 3, 3), np.float32)
    left[:, :, 2] = -np.array(_RELAXED_CURL)
    left[FINGERS.index("thumb")] = np.array([[0, 0.15, 0], [0, 0.2, 0], [0, 0.2, 0]])
    return left.ravel(), (left * np.array([1, -1, -1], np.float32)).ravel()


def write_smpl_files(folder: Path, kinds: tuple[Kind, ...] = ("smpl", "smplh")) -> list[Path]:
    """Write the stand-in under SMPL's own names and keys: smpl/SMPL_NEUTRAL.pkl, smplh/SMPLH_NEUTRAL.npz."""
    written = []
    for kind in kinds:
        arrays = smpl_file(read_stand_in(kind))
        path = folder / kind / ("SMPL_NEUTRAL.pkl" if kind == "smpl" else "SMPLH_NEUTRAL.npz")
        if kind == "smpl":
            arrays["J_regressor"] = sp.csc_matrix(arrays["J_regressor"])  # as in the published file
            write_whole(path, lambda file, content=arrays: pickle.dump(content, file, protocol=2))
        else:
            write_whole(path, lambda file, content=arrays: np.savez_compressed(file, **content))
        written.append(path)
    return written


def smpl_file(data: BodyData) -> dict[str, Any]:
    """The dictionary that a model file of the SMPL family holds."""
    num_vertices, num_joints = data.weights.shape
    tree = np.stack([np.array(data.parents), np.arange(num_joints)]).astype(np.uint32)  # the root's -1 becomes 2^32 - 1
    pose_directions = data.pose_directions
    if pose_directions is None:
        pose_directions = np.zeros((num_vertices, 3, 9 * (num_joints - 1)), np.float32)
    arrays: dict[str, Any] = {
        "v_template": data.vertices_m,
        "f": data.faces.astype(np.uint32),
        "shapedirs": data.shape_directions,
        "posedirs": pose_directions,
        "J_regressor": data.joint_regressor,
        "weights": data.weights,
        "kintree_table": tree,
        "J": data.joint_regressor @ data.vertices_m,
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }
    if data.hands_mean is not None:
        for side, mean in zip("lr", data.hands_mean, strict=True):
            arrays |= {f"hands_mean{side}": mean.ravel(), f"hands_components{side}": np.eye(45)}
            arrays |= {f"hands_coeffs{side}": np.zeros((1, 45))}
    return arrays


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the stand-in body again.")
    parser.add_argument("--out", type=Path, default=ASSET, help="where the asset goes")
    parser.add_argument("--smpl-files", type=Path, help="also write it in SMPL's own files below this folder")
    arguments = parser.parse_args()
    arrays = make_stand_in()
    write_whole(arguments.out, lambda file: np.savez_compressed(file, **arrays))  # pyright: ignore[reportArgumentType]
    print(f"wrote {arguments.out}, {arguments.out.stat().st_size / 1e6:.2f} MB")
    if arguments.smpl_files:
        for path in write_smpl_files(arguments.smpl_files):
            print(f"wrote {path}, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
