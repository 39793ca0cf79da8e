"""MP-100: a hundred categories, each with its own keypoints, in five splits of categories; and its published episodes.

What is counted on: categories go by id, never by name (40 and 18 are both called "face"); the test of a split is a
fixed list of episodes, drawn from the file's own order, so records keep their place in it. Skeletons come from the
files: where a category's points are those of a known set (AP-10K's bodies, AnimalWeb's faces, COCO's people,
CarFusion's cars) they take that set's names and descriptions, else the names in the file.
"""

import difflib
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.record import Record
from data.rejects import Rejects
from data.sources.base import Items, Source, choice, not_the_dataset
from data.sources.coco_json import UNREADABLE, Entry, Layout, coco_records, read_coco
from llmpose.body.skeleton import Skeleton, load_skeleton, plain_name, side_pairs
from llmpose.errors import UserError

if TYPE_CHECKING:
    from data.record_set import RecordSet

_SPLITS = ("train", "val", "test")
_NUM_EPISODES = {"test": 200, "val": 100}
_NUM_QUERIES = 15
_SEED = 1
"""POMNet's; every later work draws the same episodes."""
_SYNTH = "synth_"
"""What the built-in things' skeleton files begin with."""
_LISTED = 12
"""Categories that an error names."""


# ---- records --------------------------------------------------------------------------------------------------------


GROUPS: dict[str, Callable[[Entry], bool]] = {
    "human_body": lambda category: category.get("name") == "person",
    "human_face": lambda category: category.get("name") == "face",
    "vehicle": lambda category: category.get("supercategory") == "vehicle",
    "furniture": lambda category: category.get("supercategory") == "furniture",
}
"""Groups that tests across super-categories leave out of training, one at a time (POMNet). Any super-category of the
files is one, too."""


def _read(
    root: Path,
    split: str | None,
    rejects: Rejects,
    *,
    number: str = "1",
    annotations: str = "",
    without: str = "",
) -> Items:
    if without:
        files = _files(root, None, number, annotations)
        group = _group(without, [category for path, _ in files for category in read_coco(path)["categories"]])
        yield from _regrouped(_plain(root, None, rejects, number, annotations), group, split)
    else:
        yield from _plain(root, split, rejects, number, annotations)


def _group(wanted: str, categories: Sequence[Entry]) -> Callable[[Entry], bool]:
    """Which categories are meant: one of GROUPS or a super-category, "four-legged animal" as four_legged_animal."""
    there = {name: is_kept for name, is_kept in GROUPS.items() if any(map(is_kept, categories))}
    for name in sorted({_underscored(category.get("supercategory", "")) for category in categories} - {""}):
        there.setdefault(name, lambda category, name=name: _underscored(category.get("supercategory", "")) == name)
    return there[choice(_underscored(wanted), there, "option without")]


def _regrouped(items: Items, is_kept: Callable[[Entry], bool], split: str | None) -> Items:
    """All categories of a split's three files dealt anew: one group for the test, the others for training.

    The test's instances are numbered anew, in the files' order, so that its episodes are drawn as those of a split.
    """
    places: Counter[str] = Counter()
    orders: dict[int, int] = {}
    for record in items:
        assert isinstance(record, Record)
        about = record.attributes
        entry = {"name": about["category"], "supercategory": about["supercategory"]}
        record.split = "test" if is_kept(entry) else "train"
        about["place"], places[record.split] = places[record.split], places[record.split] + 1
        about["category_place"] = orders.setdefault(about["category_id"], len(orders))
        if split in (None, record.split):
            yield record


def _plain(root: Path, split: str | None, rejects: Rejects, number: str, annotations: str) -> Items:
    for path, name in _files(root, split, number, annotations):
        content = _sized(read_coco(path), path)
        places = published_places(content)
        counts = keypoint_counts(content)
        order = {category["id"]: place for place, category in enumerate(content["categories"])}

        def attributes(
            annotation: Entry,
            _image: Entry,
            category: Entry,
            places: dict[Any, int] = places,
            order: dict[Any, int] = order,
        ) -> dict[str, Any]:
            return {
                "supercategory": str(category.get("supercategory", "")),
                "place": places.get(annotation.get("id")),
                "category_place": order.get(annotation.get("category_id")),
            }

        layout = Layout(
            source="mp100",
            skeleton=skeleton_name,
            num_keypoints=lambda category, counts=counts: counts.get(category.get("id"), 0),
            attributes=attributes,
            min_keypoints=0,
        )
        below = "images" if (root / "images").is_dir() else ""
        for record in coco_records(path, layout, split=name, images_below=below, rejects=rejects):
            if record.attributes["place"] is None:
                rejects.leave_out("that the published loader passes over")
            else:
                record.attributes["split_number"] = int(number)
                yield record


def _sized(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The published loader cuts boxes at their images, so it has to know how large these are."""
    for image in content["images"]:
        if not all(isinstance(image.get(side), (int, float)) and image[side] > 0 for side in ("width", "height")):
            raise UserError(f"{path}: image {image['file_name']} has no width and height, which MP-100's images have")
    return content


def _files(root: Path, split: str | None, number: str, given: str) -> list[tuple[Path, str]]:
    choice(number, ("1", "2", "3", "4", "5"), "option number")
    if given:
        path = root / given
        if not path.is_file():
            raise UserError(f"{path}: no such file (option annotations)")
        return [(path, split or next((name for name in _SPLITS if name in path.stem), "train"))]
    found = [
        (path, name)
        for name in _SPLITS
        if split in (None, name) and (path := root / "annotations" / f"mp100_split{number}_{name}.json").is_file()
    ]
    if not found:
        raise not_the_dataset(root, "MP-100", f"annotations/mp100_split{number}_{{train,val,test}}.json and images/")
    return found


def published_places(content: Mapping[str, Any]) -> dict[Any, int]:
    """Annotation id -> its number among those that POMNet's loader keeps: image by image, in the file's order."""
    by_image: dict[Any, list[Entry]] = {}
    for annotation in content["annotations"]:
        try:
            by_image.setdefault(annotation["image_id"], []).append(annotation)
        except UNREADABLE:
            continue  # counted where it is made a record
    places: dict[Any, int] = {}
    for image in content["images"]:
        for annotation in by_image.get(image["id"], ()):
            try:
                if _is_kept(annotation, image):
                    places[annotation["id"]] = len(places)
            except UNREADABLE:
                continue
    return places


def _is_kept(annotation: Entry, image: Entry) -> bool:
    """No crowds, a box with an inside after cutting it at the image, and at least one labelled point."""
    if annotation.get("iscrowd") or "bbox" not in annotation or "keypoints" not in annotation:
        return False
    _, _, width, height = cleaned_box(annotation["bbox"], image["width"], image["height"])
    if annotation.get("area", 1) <= 0 or width <= 0 or height <= 0:
        return False
    return max(annotation["keypoints"], default=0) != 0 and annotation.get("num_keypoints", 1) != 0


def cleaned_box(box_xywh: Sequence[float], width: int, height: int) -> tuple[float, float, float, float]:
    """xywh cut at the image, one pixel smaller than annotated, as mmpose does it; PCK divides by its longer side."""
    x, y, w, h = box_xywh
    x0, y0 = max(0, x), max(0, y)
    x1, y1 = min(width - 1, x0 + max(0, w - 1)), min(height - 1, y0 + max(0, h - 1))
    return x0, y0, x1 - x0, y1 - y0


# ---- skeletons ------------------------------------------------------------------------------------------------------


def skeleton_name(category: Entry) -> str:
    """mp100_40_face: the id tells the two faces apart."""
    return f"mp100_{category.get('id')}_{_underscored(category.get('name', ''))}"


def _underscored(text: object) -> str:
    return re.sub(r"[^a-z0-9]+", "_", str(text).lower()).strip("_")


def keypoint_counts(content: Mapping[str, Any]) -> dict[Any, int]:
    """Category id -> its number of keypoints: what most of its annotations have; some categories list no names."""
    lengths: dict[Any, Counter[int]] = {}
    for annotation in content["annotations"]:
        try:
            lengths.setdefault(annotation["category_id"], Counter())[len(annotation["keypoints"] or ()) // 3] += 1
        except UNREADABLE:
            continue
    named = {category["id"]: len(_listed(category, "keypoints")) for category in content["categories"]}
    return named | {category: counter.most_common(1)[0][0] for category, counter in lengths.items()}


def _listed(category: Entry, key: str) -> list[Any]:
    found = category.get(key)
    return found if isinstance(found, list) else []


def _skeletons(root: Path, options: Mapping[str, Any]) -> dict[str, Skeleton]:
    found: dict[str, Skeleton] = {}
    counts_of: dict[str, set[int]] = {}
    one_file = str(options.get("annotations", ""))
    for path, _ in _files(root, None, str(options.get("number", "1")), one_file):
        content = read_coco(path)
        counts = keypoint_counts(content)
        for category in content["categories"]:
            own = counts_of.setdefault(str(category.get("name", "")), set())
            if count := counts[category["id"]]:
                found[skeleton_name(category)] = skeleton_of(category, count, root)
                own.add(count)
    _refuse_misfits(root, counts_of)
    if not one_file:  # which may hold a part of the categories
        _refuse_strangers(root, list(counts_of))
    return found


def _refuse_misfits(root: Path, counts_of: Mapping[str, set[int]]) -> None:
    """A skeleton file for a category must have the keypoints that its annotations have, or those of its namesake."""
    for name, counts in counts_of.items():
        held = {path: load_skeleton(path).num_keypoints for path in _skeleton_files(name, root)}
        if held and counts and not counts & set(held.values()):
            path, own = next(iter(held.items()))
            theirs = " or ".join(map(str, sorted(counts)))
            raise UserError(f"{path}: has {own} keypoints, the annotations of category {name!r} have {theirs}")


def _refuse_strangers(root: Path, categories: Sequence[str]) -> None:
    """A skeleton file in the folder must be named after a category; beside it, other sets may have theirs."""
    names = {_file_stem(name): name for name in categories}
    for path in _yaml_files(root / "skeletons"):
        stem = _file_stem(path.stem)
        if stem in names or stem.removeprefix(_SYNTH) in names:
            continue
        close = difflib.get_close_matches(stem, names, n=1)
        hint = f"; did you mean {close[0]}.yaml?" if close else ""
        listed = ", ".join(categories[:_LISTED]) + (", …" if len(categories) > _LISTED else "")
        raise UserError(f"{path}: named after no category of the annotations{hint} They have: {listed}")


def skeleton_of(category: Entry, count: int, root: Path) -> Skeleton:
    """The skeleton of one category, from a file beside the data, a known set, or the category itself."""
    name = skeleton_name(category)
    own = _from_file(category, count, root) or _known(category, count)
    if own is not None:
        return replace(own, name=name)
    given = [plain_name(str(keypoint)) for keypoint in _listed(category, "keypoints")]
    if len(given) != count or len(set(given)) != count or not all(given) or all(word.isdigit() for word in given):
        given = [f"point {number}" for number in range(1, count + 1)]
    return Skeleton(
        name=name,
        keypoints=tuple(given),
        flip_pairs=side_pairs(given),
        links=_links(category, count),
    )


def _from_file(category: Entry, count: int, root: Path) -> Skeleton | None:
    """The first file named after a category that has its number of keypoints; two categories may share a name."""
    files = map(load_skeleton, _skeleton_files(str(category.get("name", "")), root))
    return next((found for found in files if found.num_keypoints == count), None)


def _skeleton_files(name: str, root: Path) -> list[Path]:
    """skeletons/<category>.yaml and skeletons/synth_<category>.yaml in and beside the folder, those that are there."""
    stem = _file_stem(name)
    folders = (root / "skeletons", root.parent / "skeletons")
    return [
        path
        for folder in folders
        for wanted in (stem, _SYNTH + stem)
        for path in _yaml_files(folder)
        if _file_stem(path.stem) == wanted
    ]


def _yaml_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix in (".yaml", ".yml") and path.is_file())


def _file_stem(name: str) -> str:
    """'Bar stool', 'bar-stool' -> 'bar_stool': how files and categories are compared."""
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


def _known(category: Entry, count: int) -> Skeleton | None:
    """The set that MP-100 took a category from, told by name and number of points."""
    name = str(category.get("name", ""))
    if name.endswith("_body") and count == 17:
        return load_skeleton("ap10k")
    if name.endswith("_face") and category.get("supercategory") == "animal_face" and count == 9:
        return load_skeleton("animalweb")
    if name in ("person", "macaque") and count == 17:
        return load_skeleton("coco17")
    if category.get("supercategory") == "vehicle" and count == 13:
        cars = load_skeleton("carfusion")
        kept = cars.keypoints[:13]
        return replace(
            cars,
            keypoints=kept,
            sigmas=None if cars.sigmas is None else cars.sigmas[:13],
            descriptions={key: text for key, text in cars.descriptions.items() if key in kept},
        )
    return None


def _links(category: Entry, count: int) -> tuple[tuple[int, int], ...]:
    """MP-100 counts from 0; what does not fit is no link."""
    links = (link for link in _listed(category, "skeleton") if isinstance(link, list) and len(link) == 2)
    whole = ((a, b) for a, b in links if isinstance(a, int) and isinstance(b, int))
    return tuple((a, b) for a, b in whole if a != b and 0 <= a < count and 0 <= b < count)


# ---- episodes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Episode:
    """One support set and one query, as rows of the record set."""

    category_id: int
    supports: tuple[int, ...]
    query: int


def mp100_episodes(
    records: "RecordSet",
    *,
    shots: int = 1,
    split: str = "test",
    num_episodes: int | None = None,
    num_queries: int = _NUM_QUERIES,
    categories: Sequence[int] | None = None,
) -> Iterator[Episode]:
    """The published episodes of one split, in their order: 60,000 pairs in a test split, 1-shot and 5-shot alike.

    For every category in the file's order and every episode, shots + 15 instances are drawn without replacement by
    Python's `random` with seed 1; the first are the supports, each of the others a query. `records` is one split of
    one of the five, whole: a missing instance would change every draw after it. `categories`: only these ids, as the
    tests across super-categories do; the others draw nothing then.
    """
    chosen = records.filter(split=split)
    rows = _rows_by_category(records, chosen, split)
    draw = random.Random(_SEED)
    count = _NUM_EPISODES.get(split, _NUM_EPISODES["test"]) if num_episodes is None else num_episodes
    for category_id, instances in rows.items():
        if categories is not None and category_id not in categories:
            continue
        if len(instances) < shots + num_queries:
            raise UserError(
                f"MP-100 category {category_id} has {len(instances)} instances in {split}, an episode of {shots} shots "
                f"and {num_queries} queries needs {shots + num_queries}"
            )
        for _ in range(count):
            drawn = draw.sample(instances, shots + num_queries)
            for query in drawn[shots:]:
                yield Episode(category_id, tuple(drawn[:shots]), query)


def _rows_by_category(records: "RecordSet", chosen: "RecordSet", split: str) -> dict[int, list[int]]:
    """Category id -> rows of `records`, both in the published order; refuses a set with gaps."""
    parsed = chosen.attributes()
    if not parsed or any("place" not in entry for entry in parsed):
        raise UserError(f"no MP-100 {split} split in this record set; prepare one with: llmpose data prepare mp100 …")
    numbers = {entry.get("split_number") for entry in parsed}
    places = sorted(entry["place"] for entry in parsed)
    if len(numbers) > 1 or places != list(range(len(places))):
        raise UserError(
            f"this record set does not hold MP-100's {split} split whole ({len(places)} instances up to number "
            f"{places[-1] + 1}), so its episodes would not be the published ones; prepare it whole, with no rejects"
        )
    position = {record_id: row for row, record_id in enumerate(records.ids())}
    ids = chosen.ids()
    in_order = sorted(range(len(parsed)), key=lambda index: parsed[index]["place"])
    by_category: dict[tuple[int, int], list[int]] = {}
    for index in in_order:
        entry = parsed[index]
        by_category.setdefault((entry["category_place"], entry["category_id"]), []).append(position[ids[index]])
    return {category_id: rows for (_, category_id), rows in sorted(by_category.items())}


MP100 = Source(
    name="mp100",
    title="MP-100, a hundred categories with keypoints of their own",
    gives="images, boxes, keypoints, category",
    layout=("annotations/mp100_split{1..5}_{train,val,test}.json", "images/<category folder>/…"),
    where="https://github.com/luminxu/Pose-for-Everything (annotations); images from thirteen owners",
    licence="annotations non-commercial research; images under their owners' terms",
    reader=_read,
    skeletons=_skeletons,
    options={
        "number": "which of the five splits of categories: 1 to 5 (default 1)",
        "annotations": "one json file below --root instead of those above",
        "without": f"keep one group for the test, train on all others: {', '.join(GROUPS)}, "
        "or a super-category of the files",
    },
)
