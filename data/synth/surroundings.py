"""Where a scene takes place: rooms, streets and meadows, studios; their light; and simple furniture.

Surroundings are a row of numbers that `backdrop.py` reads (`shading.PLACE`, `shading.WALL`, ...). Furniture is
made of boxes, painted like everything else, so that it hides people and takes their shadows.
"""

import colorsys
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from data.synth import shading
from data.synth.picture import Piece

Array = NDArray[np.float64]
Color: TypeAlias = tuple[float, float, float]
PlaceName: TypeAlias = Literal["room", "outdoors", "studio"]

_PLACES: dict[PlaceName, int] = {"room": shading.ROOM, "outdoors": shading.OUTDOOR, "studio": shading.STUDIO}
_GROUNDS: Sequence[Color] = (
    (0.32, 0.46, 0.20), (0.40, 0.50, 0.26), (0.55, 0.50, 0.40), (0.76, 0.68, 0.50), (0.45, 0.45, 0.46),
    (0.60, 0.59, 0.57),
)  # fmt: skip
_WOODS: Sequence[Color] = ((0.55, 0.38, 0.22), (0.70, 0.53, 0.34), (0.36, 0.24, 0.15), (0.80, 0.78, 0.74))


def draw_surroundings(rng: np.random.Generator, place: PlaceName | None = None) -> tuple[Array, PlaceName]:
    """A row of numbers and the name of the kind of place."""
    name: PlaceName = place or rng.choice(["room", "outdoors", "studio"], p=[0.52, 0.33, 0.15])
    s = np.zeros(shading.SURROUNDINGS_SIZE)
    s[shading.PLACE] = _PLACES[name]
    s[shading.SHIFT : shading.SHIFT + 2] = rng.uniform(20, 40, 2)
    azimuth = rng.uniform(-0.75, 0.75)
    s[shading.WALL_NORMAL : shading.WALL_NORMAL + 2] = np.sin(azimuth), np.cos(azimuth)
    if name == "room":
        _furnish_room(s, rng)
    elif name == "outdoors":
        _lay_out_outdoors(s, rng)
    else:
        _put(s, shading.WALL, _color(rng, value=(0.55, 0.92), saturation=0.35))
        _put(s, shading.FLOOR, s[shading.WALL : shading.WALL + 3] * 0.92)
        _put(s, shading.FLOOR_ACCENT, s[shading.FLOOR : shading.FLOOR + 3])
        s[shading.WALL_DISTANCE] = 30
    _light(s, rng, is_outdoors=name == "outdoors")
    return s, name


def _furnish_room(s: Array, rng: np.random.Generator) -> None:
    _put(s, shading.FLOOR, _color(rng, value=(0.30, 0.80), saturation=0.45))
    _put(s, shading.FLOOR_ACCENT, _color(rng, value=(0.25, 0.80), saturation=0.45))
    if rng.random() < 0.45:
        wood = np.array(_WOODS[int(rng.integers(len(_WOODS)))])
        _put(s, shading.FLOOR, wood * rng.uniform(0.9, 1.1))
        _put(s, shading.FLOOR_ACCENT, wood * rng.uniform(0.65, 0.85))
        s[shading.FLOOR_PATTERN] = shading.FLOOR_PLANKS
    else:
        s[shading.FLOOR_PATTERN] = rng.choice([shading.FLOOR_PLAIN, shading.FLOOR_CHECK, shading.FLOOR_NOISE])
    s[shading.TILE] = rng.uniform(0.3, 1.0)
    _put(s, shading.WALL, _color(rng, value=(0.50, 0.95), saturation=0.35))
    _put(s, shading.WALL_ACCENT, _color(rng, value=(0.60, 0.95), saturation=0.20))
    s[shading.WALL_DISTANCE] = rng.uniform(1.3, 3.5)
    s[shading.SIDE_DISTANCE] = rng.uniform(1.5, 4.0) if rng.random() < 0.6 else 0.0
    shift = s[shading.SHIFT]
    for k in range(int(rng.integers(0, shading.NUM_PANELS + 1))):  # doors, windows, pictures, cupboards: all rectangles
        width, height = rng.uniform(0.3, 1.3), rng.uniform(0.3, 1.2)
        left = shift + rng.uniform(-3.0, 2.0)
        bottom = rng.uniform(0.7, 1.6) if rng.random() < 0.7 else 0.0
        height = rng.uniform(1.7, 2.1) if bottom == 0.0 else height
        at = shading.PANELS + k * shading.PANEL_SIZE
        s[at : at + 4] = left, left + width, bottom, bottom + height
        _put(s, at + 4, _color(rng, value=(0.15, 0.95), saturation=0.6))


def _lay_out_outdoors(s: Array, rng: np.random.Generator) -> None:
    ground = np.array(_GROUNDS[int(rng.integers(len(_GROUNDS)))])
    _put(s, shading.FLOOR, ground * rng.uniform(0.8, 1.15))
    _put(s, shading.FLOOR_ACCENT, ground * rng.uniform(0.6, 0.85))
    s[shading.FLOOR_PATTERN] = rng.choice([shading.FLOOR_NOISE, shading.FLOOR_NOISE, shading.FLOOR_CHECK])
    s[shading.TILE] = rng.uniform(0.4, 1.0)
    _put(s, shading.WALL, np.array((0.42, 0.62, 0.88)) * rng.uniform(0.8, 1.08))
    _put(s, shading.WALL_ACCENT, np.array((0.84, 0.89, 0.93)) * rng.uniform(0.88, 1.03))
    s[shading.WALL_DISTANCE] = rng.uniform(14, 32)
    s[shading.SKYLINE] = rng.uniform(1.0, 7.0) if rng.random() < 0.7 else 0.0
    tint = (0.20, 0.32, 0.14) if rng.random() < 0.6 else _color(rng, value=(0.4, 0.7), saturation=0.25)
    _put(s, shading.PANELS + 4, tint)


def _light(s: Array, rng: np.random.Generator, *, is_outdoors: bool) -> None:
    """One lamp, mostly from the viewer's side, and light from everywhere; as bright whatever the mixture."""
    azimuth = rng.normal(0, 0.85)
    height = rng.uniform(0.40, 1.10)
    direction = np.array([np.sin(azimuth), -np.cos(azimuth), np.tan(height)])
    s[shading.LIGHT : shading.LIGHT + 3] = direction / np.linalg.norm(direction)
    warmth = rng.uniform(-0.09, 0.09)
    tint = np.array([1 + warmth, 1.0, 1 - warmth])
    share = rng.uniform(0.50, 0.72) if is_outdoors else rng.uniform(0.30, 0.66)
    _put(s, shading.LIGHT_COLOR, tint * 1.25 * share)
    _put(s, shading.AMBIENT, (2 - tint) * 0.95 * (1 - share) + 0.10)
    s[shading.EXPOSURE] = rng.uniform(0.95, 1.30)


def _put(s: Array, at: int, color: Color | Array) -> None:
    s[at : at + 3] = np.clip(color, 0, 1.5)


def _color(rng: np.random.Generator, *, value: tuple[float, float], saturation: float) -> Color:
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, saturation), rng.uniform(*value))


# ---- furniture -----------------------------------------------------------------------------------------------------

_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0.0, 1.0)])
_SIDES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
     [1, 5, 7], [1, 7, 3]]
)  # fmt: skip
Block: TypeAlias = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Middle of the bottom (x, y, z) and size (x, y, z), before turning."""


def furniture(blocks: Sequence[Block], color: Color, *, at_m: Sequence[float], yaw_deg: float) -> Piece:
    """Boxes as one piece, turned about the vertical and put at (x, y)."""
    vertices = []
    for middle, size in blocks:
        corners = _CORNERS * np.array(size) + np.array(middle)
        triangles = corners[_SIDES]
        normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
        outwards = ((triangles.mean(1) - corners.mean(0)) * normal).sum(1) > 0
        vertices.append(np.where(outwards[:, None, None], triangles, triangles[:, ::-1]).reshape(-1, 3))
    local = np.concatenate(vertices)
    c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    world = local @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]]) + np.array([at_m[0], at_m[1], 0.0])
    material = np.zeros(shading.MATERIAL_SIZE)
    material[shading.KIND] = shading.PLAIN
    material[shading.SKIN : shading.SKIN + 3] = color
    # Corners are not shared, so every side keeps its own normal and edges stay sharp.
    return Piece(world, np.arange(len(world), dtype=np.int32).reshape(-1, 3), material, local)


def furniture_color(rng: np.random.Generator) -> Color:
    if rng.random() < 0.6:
        wood = np.array(_WOODS[int(rng.integers(len(_WOODS)))]) * rng.uniform(0.8, 1.15)
        return float(wood[0]), float(wood[1]), float(wood[2])
    return _color(rng, value=(0.25, 0.85), saturation=0.6)


def stool(height_m: float, width_m: float = 0.40) -> list[Block]:
    """A closed block to sit on."""
    return [((0, 0, 0), (width_m, width_m, height_m))]


def chair(height_m: float) -> list[Block]:
    """Seat, four legs and a back; it faces -y, as a person of heading 0."""
    legs = [((x, y, 0), (0.04, 0.04, height_m - 0.05)) for x in (-0.19, 0.19) for y in (-0.19, 0.19)]
    return [((0, 0, height_m - 0.05), (0.44, 0.44, 0.05)), ((0, 0.22, height_m), (0.42, 0.04, 0.46)), *legs]


def table(rng: np.random.Generator) -> list[Block]:
    width, depth, height = rng.uniform(0.7, 1.5), rng.uniform(0.5, 0.8), rng.uniform(0.45, 0.78)
    legs = [
        ((x * (width / 2 - 0.04), y * (depth / 2 - 0.04), 0), (0.05, 0.05, height - 0.04))
        for x in (-1, 1)
        for y in (-1, 1)
    ]
    return [((0, 0, height - 0.04), (width, depth, 0.04)), *legs]


def crate(rng: np.random.Generator) -> list[Block]:
    return [((0, 0, 0), tuple(rng.uniform(0.25, 0.75, 3).tolist()))]


def shelf(rng: np.random.Generator) -> list[Block]:
    width, height = rng.uniform(0.6, 1.2), rng.uniform(1.0, 1.9)
    boards = [((0, 0, k * (height - 0.03) / 3), (width, 0.30, 0.03)) for k in range(4)]
    return [((-width / 2, 0, 0), (0.03, 0.30, height)), ((width / 2, 0, 0), (0.03, 0.30, height)), *boards]
