"""Poses on disk: .npz (ours and what others write), .npy, .json. Read with checks, written whole or not at all.

.npz   ours: `rotmat` exact, beside `poses`, `betas`, `trans` as AMASS names them, so other tools read it too.
       AMASS: `poses` (F, 156) ...; newer AMASS and MOYO: `root_orient` + `pose_body`; `global_orient` + `body_pose`.
.npy   rotation matrices (..., 22, 3, 3).
.json  {"format": "llmpose.pose", "poses": [{"axis_angle": {"pelvis": [1.57, 0, 0], "left_knee": [0.5, 0, 0]}, ...}]};
       joints that are not named are at rest, which for the pelvis means upright and facing the viewer.
"""

import difflib
import json
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import roma
import torch

from llmpose.body.files import NUM_BETAS, read_npy, read_npz
from llmpose.body.pose import JOINT_NAMES, ROTATION_TOLERANCE, Frame, Pose
from llmpose.body.rotations import rotation_error
from llmpose.errors import UserError

logger = logging.getLogger(__name__)

_FORMAT = "llmpose.pose"
_HALF_PRECISION_TOLERANCE = 0.02
"""How far R^T R may be from I when the entries of R have bfloat16's eight bits."""
_SUFFIXES = (".npz", ".npy", ".json")


def save_pose(pose: Pose, path: Path) -> None:
    """Write a pose as its suffix says. An .npy has room for the rotations alone."""
    pose = pose.detach().to("cpu")
    if path.suffix == ".npz":
        arrays = {"rotmat": pose.rotmat, "poses": pose.to_axis_angle().flatten(-2)}
        arrays |= {} if pose.betas is None else {"betas": pose.betas}
        arrays |= {} if pose.trans_m is None else {"trans": pose.trans_m}
        numbers = {name: value.numpy() for name, value in arrays.items()}
        write_whole(path, lambda file: np.savez_compressed(file, **numbers))  # pyright: ignore[reportArgumentType]
    elif path.suffix == ".npy":
        write_whole(path, lambda file: np.save(file, pose.rotmat.numpy()))
    elif path.suffix == ".json":
        text = json.dumps(_to_json(pose), indent=1) + "\n"
        write_whole(path, lambda file: file.write(text.encode()))
    else:
        raise UserError(f"{path}: a pose is saved as {', '.join(_SUFFIXES)}")


def load_pose(path: Path, *, frame: int | None = None, axes: Frame = "world") -> Pose:
    if not path.is_file():
        raise UserError(f"{path}: a folder, expected a pose file" if path.is_dir() else f"{path}: no such file")
    if path.suffix == ".npz":
        pose = _from_npz(read_npz(path), path)
    elif path.suffix == ".npy":
        pose = _from_npy(path)
    elif path.suffix == ".json":
        pose = _from_json(path)
    else:
        raise UserError(f"{path}: a pose file ends in {', '.join(_SUFFIXES)}")
    if pose.rotmat.numel() == 0:
        raise UserError(f"{path}: holds no pose (its shape is {tuple(pose.rotmat.shape)})")
    pose = _unround(pose, path).check(str(path))
    if frame is not None:
        if not pose.batch_shape or not -len(pose) <= frame < len(pose):
            count = len(pose) if pose.batch_shape else 1
            raise UserError(f"{path}: no frame {frame}, the file holds {count} (counted from 0)")
        pose = pose[frame]
    if axes != "world":
        pose = pose.from_frame(axes)
    return pose


def _unround(pose: Pose, path: Path) -> Pose:
    """Matrices that were rounded to half precision (UniPose's published poses are bfloat16) become rotations again."""
    error = rotation_error(pose.rotmat).max().item()
    if not ROTATION_TOLERANCE < error <= _HALF_PRECISION_TOLERANCE:
        return pose
    logger.info("%s: rotations are rounded (off by up to %.1g); taking the nearest rotations", path, error)
    return replace(pose, rotmat=roma.special_procrustes(pose.rotmat))


def write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write to a temporary name beside `path` and rename: no half file is ever taken for a whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # mkstemp makes files that only their owner may read
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


# ---- npz ------------------------------------------------------------------------------------------------------------

_ROOT_KEYS = ("root_orient", "global_orient")
_BODY_KEYS = ("pose_body", "body_pose")


def _from_npz(arrays: dict[str, np.ndarray], path: Path) -> Pose:
    betas, trans_m = _shape_and_translation(arrays, path)
    if "rotmat" in arrays:
        return _build(lambda: Pose(torch.from_numpy(_numbers(arrays["rotmat"], path)), betas, trans_m), path)
    root = next((arrays[key] for key in _ROOT_KEYS if key in arrays), None)
    body = next((arrays[key] for key in _BODY_KEYS if key in arrays), None)
    if "poses" in arrays:
        axis_angle = _numbers(arrays["poses"], path)
    elif root is not None and body is not None:
        root, body = _numbers(root, path), _numbers(body, path)
        if root.shape[-1] != 3 or body.shape[-1] < 63 or root.shape[:-1] != body.shape[:-1]:
            raise UserError(f"{path}: root {root.shape} and body {body.shape}, expected (..., 3) and (..., 63)")
        axis_angle = np.concatenate([root, body], axis=-1)
    else:
        raise UserError(
            f"{path}: no pose in it: expected rotmat, poses, or root_orient with pose_body; "
            f"found {', '.join(arrays) or 'nothing'}"
        )
    if not np.isfinite(axis_angle).all():
        raise UserError(f"{path}: the rotations hold NaN or infinite numbers")
    return _build(lambda: Pose.from_axis_angle(torch.from_numpy(axis_angle), betas, trans_m), path)


def _shape_and_translation(arrays: dict[str, np.ndarray], path: Path) -> tuple[Any, Any]:
    betas = arrays.get("betas")
    if betas is not None:
        betas = _numbers(betas, path)
        if betas.ndim == 0 or betas.shape[-1] < NUM_BETAS:
            raise UserError(f"{path}: betas {betas.shape}, expected at least {NUM_BETAS} numbers")
        betas = torch.from_numpy(betas[..., :NUM_BETAS])  # AMASS gives 16, newer files up to 300, in falling importance
    trans = next((arrays[key] for key in ("trans", "transl") if key in arrays), None)
    return betas, None if trans is None else torch.from_numpy(_numbers(trans, path))


def _from_npy(path: Path) -> Pose:
    rotmat = _numbers(read_npy(path), path)
    return _build(lambda: Pose(torch.from_numpy(rotmat)), path)


def _numbers(array: np.ndarray, path: Path) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise UserError(f"{path}: an array of {array.dtype} where a pose's numbers were expected")
    return array.astype(np.float64)


def _build(make: Callable[[], Pose], path: Path) -> Pose:
    """Shape errors of `Pose` name no file; here they get one."""
    try:
        return make()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


# ---- json -----------------------------------------------------------------------------------------------------------


def _to_json(pose: Pose) -> dict[str, Any]:
    flat = pose.flat()
    entries = []
    for one in (flat[index] for index in range(len(flat))):
        axis_angle = [[round(value, 8) for value in vector] for vector in one.to_axis_angle().tolist()]
        entry: dict[str, Any] = {"axis_angle": dict(zip(JOINT_NAMES, axis_angle, strict=True))}
        if one.betas is not None:
            entry["betas"] = one.betas.tolist()
        if one.trans_m is not None:
            entry["trans_m"] = one.trans_m.tolist()
        entries.append(entry)
    return {"format": _FORMAT, "axes": "world: z up", "batch_shape": list(pose.batch_shape), "poses": entries}


def _from_json(path: Path) -> Pose:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT or not isinstance(content.get("poses"), list):
        raise UserError(f'{path}: not a pose file: expected {{"format": "{_FORMAT}", "poses": [...]}}')
    batch_shape = content.get("batch_shape", [len(content["poses"])])
    if int(np.prod(batch_shape)) != len(content["poses"]) or not content["poses"]:
        raise UserError(f"{path}: {len(content['poses'])} poses do not fill the batch shape {batch_shape}")
    poses = [_entry(entry, f"{path}: pose {index}") for index, entry in enumerate(content["poses"])]
    return Pose.stack(poses).mapped(lambda value: value.unflatten(0, batch_shape) if batch_shape else value[0])


def _entry(entry: Any, where: str) -> Pose:
    if not isinstance(entry, dict) or not isinstance(entry.get("axis_angle"), dict):
        raise UserError(f'{where}: expected {{"axis_angle": {{joint name: [x, y, z]}}}}')
    axis_angle = Pose.rest().to_axis_angle()
    for name, vector in entry["axis_angle"].items():
        if name not in JOINT_NAMES:
            close = difflib.get_close_matches(name, JOINT_NAMES, n=1)
            raise UserError(f"{where}: no joint {name!r}" + (f", did you mean {close[0]!r}?" if close else ""))
        axis_angle[JOINT_NAMES.index(name)] = _vector(vector, 3, f"{where}: {name}")
    extras = {
        name: _vector(entry[name], width, f"{where}: {name}")
        for name, width in (("betas", NUM_BETAS), ("trans_m", 3))
        if name in entry
    }
    return Pose.from_axis_angle(axis_angle, **extras)


def _vector(value: Any, width: int, where: str) -> torch.Tensor:
    numbers = isinstance(value, list) and all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in value)
    if not numbers or len(value) != width:
        raise UserError(f"{where}: expected {width} numbers, got {str(value)[:80]}")
    return torch.tensor(value, dtype=torch.float32)
