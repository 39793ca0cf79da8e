"""PoseScript (texts of poses) and PoseFix (texts that lead from one pose to another). Their poses stay in AMASS.

Both name poses by an id, and one json maps the id to an AMASS file and a frame. Poses enter with their heading as AMASS
has it; tasks on text take it away (`Pose.without_yaw`, as PoseScript does: R = Rz Ry Rx with the z angle dropped). A
pair of one motion keeps the turn between its poses in `attributes["turn_deg"]`.

What `llmpose data build` writes has the same layout and three things more, all read here: poses/ beside the json for
poses that are not AMASS's, ids_2_image_*.json for those that have an image, and texts of the kind "refined".
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.record import PairRecord, Record
from data.rejects import Rejects
from data.sources.amass import read_motion, subset_name
from data.sources.base import Items, Source, choice, not_the_dataset, read_json
from llmpose.errors import BadUsage, UserError

_SPLITS = ("train", "val", "test")
_KINDS = ("human", "auto", "paraphrases", "refined")
"""Who wrote the texts."""
_UNLISTED = "texts whose id stands in no split"
Place = tuple[str, int]
"""AMASS file and frame."""


# ---- PoseScript -----------------------------------------------------------------------------------------------------


def _read_posescript(
    root: Path, split: str | None, rejects: Rejects, *, amass: str = "", texts: str = "human"
) -> Items:
    folder = _release(root, "posescript")
    kinds = _kinds(texts, folder, "posescript")
    written = [_texts(folder, "posescript", kind) for kind in kinds]
    places = _places(folder)
    poses = _AmassPoses(_motion_roots(root, folder, amass), rejects)
    images = _images(folder, root)
    unlisted = {number for texts_of in written for number in texts_of}
    for name in _SPLITS if split is None else (split,):
        ids = [int(number) for number in _split_file(folder, f"{name}_ids*.json")]
        # A split of the release is its ids that have a text; the 6,293 people wrote about are few of the 100,000.
        wanted = [number for number in ids if any(texts_of.get(str(number)) for texts_of in written)]
        rejects.leave_out("without such a text", len(ids) - len(wanted))
        for number, pose in poses.read({number: places.get(number) for number in wanted}):
            pose.split = name
            pose.texts = [text for texts_of in written for text in texts_of.get(str(number), [])]
            pose.image, pose.box_xyxy_px = images.get(number, (None, None))
            yield pose
        unlisted.difference_update(map(str, ids))
    if split is None:
        rejects.leave_out(_UNLISTED, len(unlisted))


# ---- PoseFix --------------------------------------------------------------------------------------------------------


def _read_posefix(
    root: Path,
    split: str | None,
    rejects: Rejects,
    *,
    amass: str = "",
    posescript: str = "",
    texts: str = "human",
    limit: int | None = None,
) -> Items:
    folder = _release(root, "posefix")
    scripts = _release(Path(posescript).expanduser() if posescript else root, "posescript")
    kinds = _kinds(texts, folder, "posefix")
    written = [_texts(folder, "posefix", kind) for kind in kinds]
    pose_ids = _pairs(folder)
    places = _places(scripts)
    poses = _AmassPoses(_motion_roots(root, scripts, amass), rejects)
    images = _images(scripts, root)
    done: set[int] = set()
    unlisted = {pair for texts_of in written for pair in texts_of}
    left = limit
    for name in _SPLITS if split is None else (split,):
        listed = [
            int(pair)
            for where in ("in", "out")
            for pair in _split_file(folder, f"{name}_{where}_sequence_pair_ids.json")
        ]
        unlisted.difference_update(map(str, listed))
        wanted = [pair for pair in listed if any(texts_of.get(str(pair)) for texts_of in written)]
        rejects.leave_out("without such a text", len(listed) - len(wanted))
        wanted = wanted if left is None else wanted[:left]
        left = None if left is None else left - len(wanted)
        beyond = [pair for pair in wanted if not 0 <= pair < len(pose_ids)]
        for pair in beyond:
            rejects.add("pair id that the release does not define", f"posefix/{pair}")
        wanted = [pair for pair in wanted if 0 <= pair < len(pose_ids)]
        new = dict.fromkeys(number for pair in wanted for number in pose_ids[pair] if number not in done)
        headings: dict[int, float] = {}
        for number, record in poses.read({number: places.get(number) for number in new}):
            record.split = name
            record.image, record.box_xyxy_px = images.get(number, (None, None))
            headings[number] = float(record.pose().yaw_deg)
            yield record
        done.update(new)
        for pair in wanted:
            a, b = pose_ids[pair]
            in_sequence = a in places and b in places and places[a][0] == places[b][0]
            attributes = {}
            if in_sequence and a in headings and b in headings:
                turn = headings[b] - headings[a]
                attributes["turn_deg"] = (turn + 180) % 360 - 180
            yield PairRecord(
                id=f"posefix/{pair}",
                source="posefix",
                split=name,
                a=f"posescript/{a}",
                b=f"posescript/{b}",
                texts=[text for texts_of in written for text in texts_of.get(str(pair), [])],
                in_sequence=in_sequence,
                attributes=attributes,
            )
    if split is None:
        rejects.leave_out(_UNLISTED, len(unlisted))


# ---- what both share ------------------------------------------------------------------------------------------------


class _AmassPoses:
    """Reads single frames out of AMASS, file by file, each file once."""

    def __init__(self, roots: Sequence[Path], rejects: Rejects) -> None:
        self._rejects = rejects
        # People's AMASS may carry the subset names of another year than the release's paths.
        self._folders = [
            {subset_name(entry.name): entry for entry in root.iterdir() if entry.is_dir()} for root in roots
        ]

    def read(self, places: dict[int, Place | None]) -> Iterator[tuple[int, Record]]:
        """(id, record without text) of every id whose frame exists; the others are set aside."""
        by_file: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, place in places.items():
            if place is None:
                self._rejects.add("pose id without a place in AMASS", f"posescript/{number}")
            else:
                by_file[place[0]].append((place[1], number))
        for name, frames in by_file.items():
            yield from self._file(name, frames)

    def _file(self, name: str, frames: list[tuple[int, int]]) -> Iterator[tuple[int, Record]]:
        subset, _, rest = name.partition("/")
        found = [folders[subset_name(subset)] / rest for folders in self._folders if subset_name(subset) in folders]
        path = next((path for path in found if path.is_file()), Path(name))
        try:
            axis_angle, _ = read_motion(path)
        except UserError as error:
            reason = "motion file not readable" if path.is_file() else "motion file missing"
            self._rejects.add(reason, f"{name}: {error}" if path.is_file() else name, len(frames))
            return
        there = [(frame, number) for frame, number in frames if 0 <= frame < len(axis_angle)]
        for frame, _ in set(frames) - set(there):
            self._rejects.add("frame does not exist", f"{name} frame {frame} of {len(axis_angle)}")
        if not there or axis_angle.ndim != 2 or axis_angle.shape[1] < 66:
            return
        import torch

        from llmpose.body.pose import Pose

        rows = [frame for frame, _ in there]
        rotmat = Pose.from_axis_angle(torch.from_numpy(axis_angle[rows, :66].astype(np.float64))).rotmat.numpy()
        for index, (frame, number) in enumerate(there):
            yield (
                number,
                Record(
                    id=f"posescript/{number}",
                    source="posescript",
                    split="",
                    pose_rotmat=rotmat[index],
                    attributes={"subset": subset_name(subset)},
                    sequence=name,
                    frame=frame,
                ),
            )


def _release(root: Path, name: str) -> Path:
    """The folder of a release: root itself, root/<name>_release, or root/<name>."""
    mark = {"posescript": "ids_2_dataset_sequence_and_frame_index*.json", "posefix": "pair_id_2_pose_ids.json"}[name]
    for folder in (root, root / f"{name}_release", root / name):
        if any(folder.glob(mark)):
            return folder
    raise not_the_dataset(root, f"the {name} release", f"{mark}, here or in {name}_release/")


def _motion_roots(root: Path, release: Path, given: str) -> list[Path]:
    """Where motion files are looked for: AMASS's own folder (the option, or one called amass or AMASS in or beside
    --root), then poses/ of the release itself."""
    own = [release / "poses"] if (release / "poses").is_dir() else []
    if given:
        path = Path(given).expanduser()
        if not path.is_dir():
            raise UserError(f"{path}: no such folder (option amass)")
        return [path, *own]
    beside = [root / "amass", root / "AMASS", root.parent / "amass", root.parent / "AMASS"]
    found = [path for path in beside if path.is_dir()][:1] + own
    if not found:
        raise BadUsage("PoseScript's poses lie in AMASS; say where: --option amass=/path/to/AMASS")
    return found


def _images(release: Path, root: Path) -> dict[int, tuple[str, np.ndarray | None]]:
    """Pose id -> its image, as a path from root, and its box; nothing in the published releases."""
    found = sorted(release.glob("ids_2_image_*.json"))
    content = read_json(found[-1]) if found else {}
    below = release.relative_to(root).as_posix() if release.is_relative_to(root) else release.as_posix()
    images: dict[int, tuple[str, np.ndarray | None]] = {}
    for number, entry in content.items():
        name, box = str(entry["image"]), entry.get("box_xyxy_px")
        path = name if Path(name).is_absolute() or below == "." else f"{below}/{name}"
        images[int(number)] = (path, None if box is None else np.array(box, dtype=np.float32))
    return images


def _places(folder: Path) -> dict[int, Place]:
    """Pose id -> AMASS file and frame."""
    path = sorted(folder.glob("ids_2_dataset_sequence_and_frame_index*.json"))[-1]
    content = read_json(path)
    try:
        return {int(number): (str(place[1]), int(place[2])) for number, place in content.items()}
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise UserError(f'{path}: expected {{"0": ["AMASS", "path.npz", frame], …}}') from None


def _pairs(folder: Path) -> list[tuple[int, int]]:
    """Pair id -> ids of its two poses."""
    path = folder / "pair_id_2_pose_ids.json"
    try:
        return [(int(a), int(b)) for a, b in read_json(path)]
    except (TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: expected [[id of pose A, id of pose B], …]") from None


def _kinds(given: str, release: Path, name: str) -> tuple[str, ...]:
    """The option `texts`: one kind, several with commas, or all that are there."""
    if given == "all":
        there = tuple(kind for kind in _KINDS if any(release.glob(f"{name}_{kind}_*.json")))
        if not there:
            raise UserError(f"{release}: has no texts {name}_<kind>_*.json of any kind ({', '.join(_KINDS)})")
        return there
    return tuple(choice(kind.strip(), (*_KINDS, "all"), "option texts") for kind in given.split(","))


def _texts(folder: Path, release: str, kind: str) -> dict[str, list[str]]:
    """Id -> texts, from the file of this kind; a release without it is told."""
    found = sorted(folder.glob(f"{release}_{kind}_*.json")) or sorted(folder.glob(f"{release}_{kind}.json"))
    if not found:
        there = [name for name in _KINDS if any(folder.glob(f"{release}_{name}*.json"))]
        raise UserError(
            f"{folder}: has no {release}_{kind}_*.json; "
            + (f"choose other texts with --option texts={','.join(there)}" if there else "nor texts of another kind")
        )
    content = read_json(found[-1])
    if not isinstance(content, dict) or not all(isinstance(texts, (str, list)) for texts in content.values()):
        raise UserError(f"{found[-1]}: expected id -> text or texts")
    return {number: [texts] if isinstance(texts, str) else list(texts) for number, texts in content.items()}


def _split_file(folder: Path, pattern: str) -> Iterable[Any]:
    found = sorted(folder.glob(pattern))
    return read_json(found[-1]) if found else ()


_FROM = "https://europe.naverlabs.com/research/posescript (texts), https://amass.is.tue.mpg.de (poses)"
_LICENCE = "texts CC BY-NC-SA 4.0 (NAVER); poses under AMASS's licence"
_AMASS_OPTION = "folder of AMASS SMPL+H (default: amass/ in or beside --root)"

POSESCRIPT = Source(
    name="posescript",
    title="PoseScript, texts of AMASS poses",
    gives="poses, texts",
    layout=(
        "ids_2_dataset_sequence_and_frame_index_100k.json, {train,val,test}_ids_100k.json",
        "posescript_human_6293.json, posescript_auto_100k.json (here or in posescript_release/)",
    ),
    where=_FROM,
    licence=_LICENCE,
    reader=_read_posescript,
    options={"amass": _AMASS_OPTION, "texts": "human, auto, refined, several with commas, or all (default human)"},
)

POSEFIX = Source(
    name="posefix",
    title="PoseFix, instructions from one AMASS pose to another",
    gives="pairs of poses, texts",
    layout=(
        "pair_id_2_pose_ids.json, {train,val,test}_{in,out}_sequence_pair_ids.json (here or in posefix_release/)",
        "posefix_human_6157.json, posefix_auto_135305.json, posefix_paraphrases_4284.json; PoseScript's ids",
    ),
    where=_FROM,
    licence=_LICENCE,
    reader=_read_posefix,
    kind="pairs",
    options={
        "amass": _AMASS_OPTION,
        "posescript": "folder of the PoseScript release (default: in --root)",
        "texts": "human, auto, paraphrases, refined, several with commas, or all (default human)",
        "limit": "only the first so many pairs (what --limit sets)",
    },
)
