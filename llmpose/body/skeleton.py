"""A skeleton is data: the keypoints of a kind of object, by name, and what belongs together.

Those of the usual datasets are the YAML files in `skeletons/`; anybody's own is one more file of the same form:

    name: stool
    about: a three-legged bar stool
    keypoints:                       # in the order of the annotations; the sentence is what textual prompts use
      seat: the middle of the round seat, the widest flat part at the top
      left foot: the lower end of the leg on the stool's own left side, where it touches the floor
      right foot: the lower end of the leg on the stool's own right side, where it touches the floor
    flip_pairs: [[left foot, right foot]]   # may be left out where names say left and right
    links: [[seat, left foot], [seat, right foot]]
    sigmas: [0.05, 0.08, 0.08]              # may be left out; AP needs them, PCK does not

Keypoints may also be a plain list of names, with the sentences apart in `descriptions`, or without any. Names are shown
as they are written; where two are compared, case, underscores, hyphens and blanks do not count (`plain_name`).
"""

import difflib
import math
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from llmpose.errors import UserError

_FOLDER = Path(__file__).parent / "skeletons"
_KEYS = ("name", "about", "keypoints", "flip_pairs", "links", "sigmas", "descriptions")


@dataclass(frozen=True)
class Skeleton:
    """Names of K keypoints, and by index: which swap when the image is mirrored, and which are linked when drawn."""

    name: str
    keypoints: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...] = ()
    links: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] | None = None
    """Per keypoint, the spread of annotators that OKS divides by (COCO); None where a file gives none."""
    descriptions: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Name -> where it is on the object, one sentence."""

    def __post_init__(self) -> None:
        def refuse(what: str) -> None:
            raise UserError(f"skeleton {self.name!r}: {what}")

        count = len(self.keypoints)
        if not count:
            refuse("has no keypoints")
        places: dict[str, int] = {}
        for index, name in enumerate(self.keypoints):
            plain = plain_name(name)
            if not plain:
                refuse(f"keypoint {index + 1} of {count} has no name: {name!r}")
            first = self.keypoints[places.setdefault(plain, index)]
            if places[plain] == index:
                continue
            if first == name:
                refuse(f"keypoint name {name!r} stands there twice; every name must be its own")
            refuse(f"{first!r} and {name!r} are one name twice: case, underscores and hyphens do not count")
        for what, pairs in (("flip pair", self.flip_pairs), ("link", self.links)):
            for pair in pairs:
                if len(pair) != 2 or not all(0 <= index < count for index in pair):
                    refuse(f"{what} {list(pair)} is out of range: it has {count} keypoints, 0 to {count - 1}")
                if pair[0] == pair[1]:
                    refuse(f"{what} {list(pair)} joins {self.keypoints[pair[0]]!r} with itself")
        swapped = [index for pair in self.flip_pairs for index in pair]
        twice = next((index for index in swapped if swapped.count(index) > 1), None)
        if twice is not None:
            refuse(f"{self.keypoints[twice]!r} is in two flip pairs")
        for index, name in enumerate(self.keypoints):
            twin = places.get(_other_side(name) or "")
            if twin is not None and index not in swapped:
                other = self.keypoints[twin]
                refuse(f"{name!r} and {other!r} are both keypoints, but no flip pair: add [{name}, {other}]")
        if self.sigmas is not None:
            if len(self.sigmas) != count:
                refuse(f"has {len(self.sigmas)} sigmas for {count} keypoints")
            if not all(math.isfinite(sigma) and sigma > 0 for sigma in self.sigmas):
                refuse("sigmas must be positive numbers")
        strangers = [name for name in self.descriptions if name not in self.keypoints]
        if strangers:
            refuse(f"describes {strangers[0]!r}, which is none of its keypoints")

    @property
    def num_keypoints(self) -> int:
        return len(self.keypoints)

    @property
    def flip_permutation(self) -> tuple[int, ...]:
        """Where each keypoint of a mirrored image comes from: `mirrored = keypoints[list(flip_permutation)]`."""
        order = list(range(self.num_keypoints))
        for a, b in self.flip_pairs:
            order[a], order[b] = b, a
        return tuple(order)

    @property
    def mirrors(self) -> bool:
        """Whether its labels can follow a mirrored image: twins are known, and no name has a side without its twin."""
        plain = {plain_name(name) for name in self.keypoints}
        turned = (_other_side(name) for name in self.keypoints)
        return bool(self.flip_pairs) and all(twin is None or twin in plain for twin in turned)

    def index(self, name: str) -> int:
        """The place of a keypoint, by its name, compared as `plain_name` says."""
        names = {plain_name(keypoint): index for index, keypoint in enumerate(self.keypoints)}
        if (wanted := plain_name(name)) in names:
            return names[wanted]
        close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
        raise UserError(
            f"skeleton {self.name!r} has no keypoint {name!r}"
            + (
                f"; did you mean {self.keypoints[names[close[0]]]!r}?"
                if close
                else f"; it has: {', '.join(self.keypoints)}"
            )
        )

    def describe(self, name: str) -> str:
        """The sentence that describes a keypoint, or just its name where nobody wrote one."""
        keypoint = self.keypoints[self.index(name)]
        return self.descriptions.get(keypoint, keypoint)

    def to_dict(self) -> dict[str, Any]:
        """As the YAML files have it, indices as names; `skeleton_from_dict` reads it back."""
        names = self.keypoints
        content: dict[str, Any] = {
            "name": self.name,
            "keypoints": {name: self.descriptions.get(name, "") for name in names},
            "flip_pairs": [[names[a], names[b]] for a, b in self.flip_pairs],
            "links": [[names[a], names[b]] for a, b in self.links],
        }
        return content if self.sigmas is None else {**content, "sigmas": list(self.sigmas)}


def plain_name(name: str) -> str:
    """'Ankle_Left ' and 'ankle-left' -> 'ankle left': how names are compared."""
    return " ".join(re.sub("[_-]", " ", name).lower().split())


def side_pairs(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Flip pairs of names that differ only in left and right; a side without its twin has none."""
    places = {plain_name(name): index for index, name in enumerate(names)}
    twins = ((index, places.get(_other_side(name) or "")) for index, name in enumerate(names))
    return tuple((index, twin) for index, twin in twins if twin is not None and index < twin)


def skeleton_names() -> tuple[str, ...]:
    """The skeletons that come with the library."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_skeleton(name_or_path: str | Path) -> Skeleton:
    """A skeleton of the library by name ('coco17'), or anybody's own by the path of its YAML file."""
    text = str(name_or_path)
    if text in skeleton_names():
        return _built_in(text)
    path = Path(text).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        close = difflib.get_close_matches(text, skeleton_names(), n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(
            f"no skeleton {text!r}{hint} Choose one of {', '.join(skeleton_names())}, or give the path of a .yaml file"
        )
    return _read(path)


@cache
def _built_in(name: str) -> Skeleton:
    return _read(_FOLDER / f"{name}.yaml")


def _read(path: Path) -> Skeleton:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not a readable YAML file: {' '.join(str(error).split())}") from None
    return skeleton_from_dict(content, str(path))


def skeleton_from_dict(content: Any, source: str) -> Skeleton:
    """Build and check a skeleton from what a YAML file holds; errors name `source`."""
    if not isinstance(content, dict) or not content.get("keypoints"):
        raise UserError(f"{source}: not a skeleton: expected name: and keypoints:, see `llmpose.body.skeleton`")
    unknown = [key for key in content if key not in _KEYS]
    if unknown:
        raise UserError(f"{source}: unknown key {unknown[0]!r}; a skeleton has {', '.join(_KEYS)}")
    keypoints = content["keypoints"]
    if not isinstance(keypoints, (dict, list)) or not all(isinstance(name, str) for name in keypoints):
        raise UserError(
            f"{source}: keypoints: must be names, or names with a sentence each (quote a name like 'yes' or '1')"
        )
    names = tuple(keypoints)
    apart = content.get("descriptions") or {}
    if not isinstance(apart, dict):
        raise UserError(f"{source}: descriptions: must be keypoint names with a sentence each")
    written = {plain_name(name): name for name in names}
    described = {**(keypoints if isinstance(keypoints, dict) else {}), **apart}.items()
    try:
        flip_pairs = content.get("flip_pairs")
        sigmas = content.get("sigmas")
        return Skeleton(
            name=str(content.get("name") or Path(source).stem),
            keypoints=names,
            flip_pairs=_sides(names) if flip_pairs is None else _pairs(flip_pairs, names, "flip pair"),
            links=_pairs(content.get("links") or [], names, "link"),
            sigmas=None if sigmas is None else _sigmas(sigmas, names),
            descriptions={
                written.get(plain_name(str(name)), str(name)): " ".join(text.split())
                for name, text in described
                if isinstance(text, str) and text
            },
        )
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


def _pairs(pairs: Any, names: Sequence[str], what: str) -> tuple[tuple[int, int], ...]:
    """Pairs of names or of indices from 0."""
    if not isinstance(pairs, list):
        raise UserError(f"{what}s must be a list of pairs, got {pairs!r}")
    found = []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise UserError(f"{what} {pair!r} lacks its partner: give two keypoints" if pair else f"an empty {what}")
        found.append((_place(pair[0], names, what), _place(pair[1], names, what)))
    return tuple(found)


def _place(value: Any, names: Sequence[str], what: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < len(names):
            raise UserError(
                f"{what} points to keypoint {value}, out of range: there are {len(names)}, 0 to {len(names) - 1}"
            )
        return value
    plain = [plain_name(name) for name in names]
    wanted = plain_name(str(value))
    if wanted in plain:
        return plain.index(wanted)
    close = difflib.get_close_matches(wanted, plain, n=1)
    hint = f"; did you mean {names[plain.index(close[0])]!r}?" if close else ""
    raise UserError(f"{what} names {value!r}, no such keypoint{hint}")


def _sigmas(sigmas: Any, names: Sequence[str]) -> tuple[float, ...]:
    if isinstance(sigmas, (int, float)) and not isinstance(sigmas, bool):
        return (float(sigmas),) * len(names)
    if not isinstance(sigmas, list) or not all(isinstance(s, (int, float)) and not isinstance(s, bool) for s in sigmas):
        raise UserError("sigmas must be one number, or a list with a number per keypoint")
    return tuple(float(sigma) for sigma in sigmas)


def _sides(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Flip pairs from the names of somebody's file, where a side without its twin is a mistake."""
    plain = [plain_name(name) for name in names]
    for name in names:
        partner = _other_side(name)
        if partner is not None and partner not in plain:
            raise UserError(f"{name!r} has no partner {partner!r}; add it, or write flip_pairs: yourself ([] for none)")
    return side_pairs(names)


def _other_side(name: str) -> str | None:
    """'Left_front_paw' -> 'right front paw', 'L_Eye' -> 'r eye', plain; None for what has no side in its name."""
    words = plain_name(name).split()
    sides = {"left": "right", "right": "left", "l": "r", "r": "l"}
    turned = [sides.get(word, word) for word in words]
    return " ".join(turned) if turned != words else None


class _Loader(yaml.SafeLoader):
    """YAML keeps the last of two equal keys in silence; a keypoint named twice is a mistake to be told."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        doubles = [key for key in keys if keys.count(key) > 1]
        if doubles:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {doubles[0]!r} stands there twice")
        return super().construct_mapping(node, deep)
