"""Look into a record set: counts, fields and ranges as tables, and a contact sheet with annotations drawn in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from data.record import Record
from data.records import PairSet, RecordSet, load_set
from llmpose.errors import UserError

Table: TypeAlias = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
"""Title, header, rows."""

_CELL = 256
_SAMPLE = 2000
"""Records looked at for ranges; a bigger set is sampled evenly, and the table says so."""


def open_set(path: str | Path, *, split: str | None = None, verify: bool = False) -> RecordSet | PairSet:
    """A record set or a set of pairs, one split of it where asked."""
    opened = load_set(path)
    if verify:
        opened = type(opened).load(path, verify=True)
    if split is None:
        return opened
    chosen = opened.filter(split=split)
    if not len(chosen):
        raise UserError(f"{path}: no split {split!r}; it has {', '.join(opened.manifest['splits'])}")
    return chosen


def tables(opened: RecordSet | PairSet) -> list[Table]:
    """What `llmpose data inspect` prints."""
    manifest = opened.manifest
    rejects = manifest["rejects"]
    facts = [
        ("source", str(manifest["source"])),
        ("pairs" if isinstance(opened, PairSet) else "records", f"{len(opened):,}"),
        *((f"split {name}", f"{count:,}") for name, count in manifest["splits"].items()),
        *((f"skeleton {name}", f"{count:,}") for name, count in manifest.get("records_by_skeleton", {}).items()),
        *((f"option {name}", str(value)) for name, value in manifest["options"].items() if value is not None),
        ("images from", str(manifest.get("image_root") or "-")),
        ("set aside", f"{rejects['count']:,} (at most {rejects['max_share']:.1%} allowed)"),
    ]
    facts += [(f"  {reason}", _with_examples(entry)) for reason, entry in rejects["reasons"].items()]
    facts += [(f"left out: {reason}", f"{count:,}") for reason, count in rejects.get("left_out", {}).items()]
    facts += [(f"kept: {odd}", _with_examples(entry)) for odd, entry in rejects.get("kept", {}).items()]
    shown: list[Table] = [("what it is", ("", ""), facts)]
    if isinstance(opened, PairSet):
        texts = opened.column("texts")
        in_sequence = sum(opened.column("in_sequence"))
        rows = [("texts", f"{len(opened):,}", _words(texts)), ("in sequence", f"{in_sequence:,}", "")]
        return [*shown, ("pairs", ("field", "pairs", "range"), rows), *tables(opened.records)[1:]]
    return [*shown, _fields(opened)]


def draw_sheet(opened: RecordSet | PairSet, path: Path, *, count: int = 24, seed: int = 0) -> None:
    """Draw some records, chosen by `seed`, onto one PNG."""
    from llmpose.body.draw import contact_sheet

    chosen = np.sort(np.random.default_rng(seed).permutation(len(opened))[:count]).tolist()
    if isinstance(opened, PairSet):
        pictures, labels = _pair_pictures(opened, chosen), [_text(opened[index].texts) for index in chosen]
    else:
        records = [opened[index] for index in chosen]
        pictures, labels = [picture(record, opened) for record in records], [_label(record) for record in records]
    wide = any(image.width > image.height * 3 / 2 for image in pictures)
    sheet = contact_sheet(pictures, labels, columns=4 if wide else 6, cell=(2 * _CELL, _CELL) if wide else _CELL)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    sheet.save(temporary, format="PNG")
    temporary.replace(path)


def picture(record: Record, records: RecordSet) -> Image.Image:
    """One record drawn: its image with what is marked in it, its pose, or both side by side; without either, grey."""
    drawn = []
    if record.image is not None or record.image_bytes is not None:
        drawn.append(annotated(record, records))
    if record.pose_rotmat is not None:
        from llmpose.body.render import render_pose

        drawn.append(render_pose(record.pose(), size=_CELL))
    return _side_by_side(drawn) if drawn else Image.new("RGB", (_CELL, _CELL), (225, 225, 225))


def annotated(record: Record, records: RecordSet) -> Image.Image:
    """The image around the box, with mask, box and keypoints, drawn at the sheet's size so that lines stay visible."""
    from llmpose.body.draw import draw_boxes, draw_masks, draw_skeleton

    image = record.load_image()
    if record.mask_rle is not None and tuple(record.mask_rle["size"]) == (image.height, image.width):
        image = draw_masks(image, [record.mask_rle])
    left, top, right, bottom = _window(record, image)
    image = image.crop((left, top, right, bottom))
    scale = _CELL / max(image.size)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    if record.box_xyxy_px is not None:
        image = draw_boxes(image, (record.box_xyxy_px - (left, top, left, top))[None] * scale, width=2)
    if record.keypoints is not None and record.skeleton is not None:
        points = (record.keypoints - (left, top, 0)) * np.array([scale, scale, 1], dtype=np.float32)
        image = draw_skeleton(image, points, records.skeleton(record.skeleton), radius=2.5)
    return image


def _window(record: Record, image: Image.Image) -> tuple[int, int, int, int]:
    """What of the image to show: the box and half its size around, so that small people are seen; else everything."""
    if record.box_xyxy_px is None:
        return 0, 0, image.width, image.height
    box = record.box_xyxy_px.astype(float)
    centre, half = (box[:2] + box[2:]) / 2, 0.75 * (box[2:] - box[:2]).max()
    left, top = (max(0, int(value)) for value in centre - half)
    right, bottom = (int(value) for value in np.minimum(np.ceil(centre + half), image.size))
    return (left, top, right, bottom) if right - left > 1 and bottom - top > 1 else (0, 0, image.width, image.height)


def _pair_pictures(pairs: PairSet, chosen: Sequence[int]) -> list[Image.Image]:
    """Both poses side by side."""
    pictures = []
    for index in chosen:
        _, a, b = pairs.both(index)
        pictures.append(_side_by_side([picture(record, pairs.records) for record in (a, b)]))
    return pictures


def _side_by_side(images: Sequence[Image.Image]) -> Image.Image:
    """In one row, each in the middle of its height."""
    if len(images) == 1:
        return images[0]
    height = max(image.height for image in images)
    joined = Image.new("RGB", (sum(image.width for image in images), height), (250, 250, 250))
    left = 0
    for image in images:
        joined.paste(image, (left, (height - image.height) // 2))
        left += image.width
    return joined


def _fields(records: RecordSet) -> Table:
    some = records.select(np.linspace(0, len(records) - 1, min(len(records), _SAMPLE)).astype(np.int64))
    loaded = list(some)
    rows = []
    for name in records.columns:
        known = [getattr(record, name) for record in loaded if getattr(record, name) is not None]
        rows.append((name, f"{int(records.has(name).sum()):,}", _range(name, known, loaded)))
    suffix = f" (ranges from {len(some):,} of {len(records):,})" if len(some) < len(records) else ""
    return ("fields" + suffix, ("field", "records", "range"), rows)


def _range(name: str, values: list[Any], loaded: list[Record]) -> str:
    if not values:
        return ""
    if name in ("width", "height", "frame"):
        return f"{min(values)} to {max(values)}"
    if name in ("source", "split", "skeleton"):
        return ", ".join(sorted(set(values)))
    if name == "box_xyxy_px":
        sides = np.stack(values)[:, 2:] - np.stack(values)[:, :2]
        return f"longest side {sides.max(1).min():.0f} to {sides.max(1).max():.0f} px"
    if name == "keypoints":
        shares = [float((points[:, 2] > 0).mean()) for points in values]
        hidden = sum(int((points[:, 2] == 1).sum()) for points in values)
        return f"{np.mean(shares):.0%} labelled, {hidden / max(1, sum(len(p) for p in values)):.0%} hidden"
    if name == "pose_rotmat":
        import torch

        from llmpose.body.pose import Pose

        poses = Pose(torch.from_numpy(np.stack(values)))
        upright = float((poses.rotmat[:, 0, 2, 1] > 0.7).float().mean())
        return f"heading {poses.yaw_deg.min():.0f} to {poses.yaw_deg.max():.0f} degrees, {upright:.0%} upright"
    if name == "betas":
        return f"{np.min(values):.1f} to {np.max(values):.1f}"
    if name == "joints_m":
        return f"{min(len(joints) for joints in values)} joints, up to {max(np.abs(j).max() for j in values):.1f} m out"
    if name == "texts":
        return _words([record.texts for record in loaded if record.texts])
    if name == "attributes":
        return ", ".join(sorted({key for value in values for key in value}))
    if name == "mask_rle":
        return f"{len(values)} masks"
    if name == "camera":
        return ", ".join(sorted({key for value in values for key in value}))
    if name == "image_bytes":
        return f"{np.mean([len(value) for value in values]) / 1000:.0f} kB each"
    return str(values[0])


def _words(texts: list[list[str]]) -> str:
    lengths = [len(text.split()) for some in texts for text in some]
    each = len(lengths) / max(1, len(texts))
    return (
        f"{each:.1f} each, {min(lengths)} to {max(lengths)} words, {np.mean(lengths):.0f} on average" if lengths else ""
    )


def _with_examples(entry: dict[str, Any]) -> str:
    return f"{entry['count']:,} ({', '.join(entry['examples'])})"


def _label(record: Record) -> str:
    what = record.attributes.get("category") or record.sequence or ""
    return _text(record.texts) or f"{record.id.rpartition('/')[2]} {what}".strip()


def _text(texts: Sequence[str]) -> str:
    return texts[0] if texts else ""
