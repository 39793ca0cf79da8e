"""What is done to every sample of a painted picture: whose it is; and to every pixel: grain and bytes.

Each is a pass over the whole picture, compiled where numba is installed and numpy otherwise, with the same answer to
the last bit. One compiled pass reads the picture once; numpy reads and writes it for every sign in a formula.
"""

import numpy as np
from numpy.typing import NDArray

from llmpose.body.raster import Array, Engine, choose_engine, compiled


def look_up(face_id: NDArray[np.int32], of_face: NDArray[np.int32], engine: Engine) -> NDArray[np.int32]:
    """(H, W) what is known of the face that each sample sees; -1 where nothing is."""
    if engine == "numba":
        result = np.empty(face_id.shape, np.int32)
        compiled(_look_up_loop)(face_id, of_face, result)
        return result
    return np.append(of_face, np.int32(-1))[face_id]  # face -1 reads the last entry


def as_bytes(rgb: Array, noise: Array, engine: Engine | None = None) -> NDArray[np.uint8]:
    """(H, W, 3) of 0..1 and grain (H, W, 1) that is the same for all colours, as a picture file has them."""
    if choose_engine(engine) == "numba":
        result = np.empty(rgb.shape, np.uint8)
        compiled(_bytes_loop)(rgb, noise, result)
        return result
    return (np.clip(rgb + noise, 0, 1) * 255 + 0.5).astype(np.uint8)


# ---- numba ----------------------------------------------------------------------------------------------------------


def _look_up_loop(face_id: NDArray[np.int32], of_face: NDArray[np.int32], result: NDArray[np.int32]) -> None:
    for y in range(face_id.shape[0]):
        for x in range(face_id.shape[1]):
            f = face_id[y, x]
            result[y, x] = of_face[f] if f >= 0 else np.int32(-1)


def _bytes_loop(rgb: Array, noise: Array, result: NDArray[np.uint8]) -> None:
    for y in range(rgb.shape[0]):
        for x in range(rgb.shape[1]):
            grain = noise[y, x, 0]
            for channel in range(3):
                value = min(max(rgb[y, x, channel] + grain, 0.0), 1.0)
                result[y, x, channel] = np.uint8(np.int32(value * 255 + 0.5))
