"""What frozen encoders make of an image, kept on disk: the second epoch need not look again.

    features.npy     (N, P, C) float16, mapped
    pictures.npy     (N, 16) uint8, digests of the images, in order
    sightings.npy    which record shows which of them (data/sightings.py)
    about.json       of which encoders; written last, so a folder without it is not one

Images are known by their pixels (data/branches.py), so a crop is a picture of its own, and the same picture in two
records is kept once. A `ticket` is a picture of 6 × 1 pixels that stands for one in the cache: with it, not even the
image file has to be read again. Float16 keeps eleven bits: what the projector gets differs by less than its own
rounding in bf16.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from data.branches import digest
from llmpose.errors import UserError

ABOUT = "about.json"

_TICKET, _MARK = (6, 1), b"\xd1\x6e"


class Features:
    """Images to features, (N, P, C) float16. Callable, as the collator wants it."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.about = _about(self.folder)
        digests = np.load(self.folder / "pictures.npy")
        self.place = {bytes(row): i for i, row in enumerate(digests)}
        self.features = np.load(self.folder / "features.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self.place)

    def __contains__(self, image: Any) -> bool:
        return digest(image) in self.place

    def __call__(self, images: Sequence[Any]) -> Tensor:
        """Images, or tickets, in any mixture."""
        if not images:
            return torch.zeros(0, *self.features.shape[1:], dtype=torch.float16)
        try:
            rows = [self.place[_read_ticket(image) or digest(image)] for image in images]
        except KeyError:
            raise UserError(
                f"{self.folder}: an image of this batch is not in the cache; remove the folder to have it made anew"
            ) from None
        return torch.from_numpy(np.stack([self.features[row] for row in rows]))


def ticket(picture: bytes) -> Image.Image:
    """A picture that stands for the one of this digest, which is written as 6 × 1 pixels."""
    return Image.frombytes("RGB", _TICKET, picture + _MARK)


def _read_ticket(image: Any) -> bytes | None:
    if not isinstance(image, Image.Image) or image.size != _TICKET:
        return None
    written = image.tobytes()
    return written[: -len(_MARK)] if written.endswith(_MARK) else None


def make_features(
    folder: str | Path,
    images: Iterable[Any],
    encode: Callable[[Sequence[Any]], Tensor],
    *,
    encoders: str,
    batch: int = 32,
    progress: Callable[[int], None] | None = None,
) -> Features:
    """Encode every different picture once and write the folder, or open the one that is there.

    `encode` takes images to (n, P, C); `encoders` says which weights did it (`weights_of`). A folder of other encoders
    is an error, one without its about.json is written anew.
    """
    folder = Path(folder)
    if (folder / ABOUT).is_file():
        found = _about(folder)["encoders"]
        if found != encoders:
            raise UserError(
                f"{folder}: made by other vision encoders (fingerprint {found}, this model's is {encoders}); "
                "remove it, or name another folder"
            )
        return Features(folder)
    folder.mkdir(parents=True, exist_ok=True)
    digests: list[bytes] = []
    parts: list[np.ndarray] = []
    seen: set[bytes] = set()
    waiting: list[Any] = []

    def flush() -> None:
        if waiting:
            parts.append(encode(waiting).to("cpu", torch.float16).numpy())
            if progress is not None:
                progress(len(waiting))
            waiting.clear()

    for image in images:
        name = digest(image)
        if name in seen:
            continue
        seen.add(name)
        digests.append(name)
        waiting.append(image)
        if len(waiting) == batch:
            flush()
    flush()
    if not digests:
        raise UserError(f"{folder}: there is no image whose features could be kept")
    stacked = np.concatenate(parts)
    if not np.isfinite(stacked).all():
        raise UserError(f"{folder}: some features are not finite in float16; train without the cache")
    np.save(folder / "features.npy", stacked)
    np.save(folder / "pictures.npy", np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), 16))
    about = {"form": "llmpose.features", "encoders": encoders, "count": len(digests), "shape": list(stacked.shape[1:])}
    (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return Features(folder)


def weights_of(module: nn.Module) -> str:
    """Short hash of all weights of a module: the name under which its features are kept."""
    hashed = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        hashed.update(name.encode())
        hashed.update(value.detach().to("cpu", torch.float32).numpy().tobytes())
    return hashed.hexdigest()[:16]


def _about(folder: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder}: no {ABOUT} is there; expected a folder of cached image features") from None
    except ValueError as error:
        raise UserError(f"{folder / ABOUT}: not valid JSON ({error})") from None
    return about
