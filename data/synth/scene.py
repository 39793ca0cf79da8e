"""A scene: people somewhere, something to sit on or to stand behind, light and a camera; then its picture and labels.

People fill most of the picture as in crops of photographs; groups stand side by side and partly hide each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.synth import shading
from data.synth.clothes import draw_outfit
from data.synth.labels import PersonLabel, label_people, see_people
from data.synth.people import Person, figure, make_people
from data.synth.picture import Piece, extent, paint
from data.synth.pixels import as_bytes
from data.synth.poses import PoseBatch
from data.synth.surroundings import (
    chair,
    crate,
    draw_surroundings,
    furniture,
    furniture_color,
    shelf,
    stool,
    table,
)
from llmpose.body.camera import Array, Camera
from llmpose.body.raster import Engine

_MIN_VISIBLE_SHARE = 0.30
"""Somebody of whom less is seen is sent away, and the scene painted again."""
_MIN_SHARE_BEHIND_THINGS = 0.60
"""If somebody of whom less is seen stands behind furniture, the furniture goes."""
_MIN_VISIBLE_PX = 60
_PERSONAL_SPACE_M = 0.24


@dataclass(frozen=True, eq=False)
class Scene:
    """A finished picture and everything known about it."""

    image: NDArray[np.uint8]
    """(H, W, 3)."""
    camera: Camera
    people: list[PersonLabel]
    place: str
    """room, outdoors or studio."""


def draw_people(poses: PoseBatch, rng: np.random.Generator, *, engine: Engine | None = None) -> list[Person]:
    """Dress sampled poses and turn most people towards the viewer."""
    count = len(poses)
    yaw = np.where(rng.random(count) < 0.55, rng.normal(0, 45, count), rng.uniform(-180, 180, count))
    turned = PoseBatch(poses.angles, yaw, poses.names, poses.supports, poses.allowed_overlap_m, poses.flat)
    betas = np.clip(rng.standard_normal((count, 10)), -2, 2).astype(np.float32)
    outfits = [draw_outfit(rng) for _ in range(count)]
    return make_people(turned.rotmat, betas, outfits, turned.names, turned.supports, engine=engine)


def make_scene(
    people: Sequence[Person],
    rng: np.random.Generator,
    *,
    width: int,
    height: int,
    engine: Engine | None = None,
) -> Scene:
    """Put people into surroundings, frame them, paint, label."""
    placed = _arrange([person if person.support != "air" else _lifted(person, rng) for person in people], rng)
    seats, things = _seats(placed, rng), _things(placed, rng)
    camera = _frame(placed, rng, width=width, height=height)
    surroundings, place = draw_surroundings(rng)
    _keep_walls_behind(surroundings, camera, placed, seats + things)
    noise = rng.uniform(0, 0.010) * rng.standard_normal((height, width, 1))
    while True:
        placed = [person.numbered(number) for number, person in enumerate(placed)]
        pieces: list[Piece] = [piece for person in placed for piece in person.pieces] + seats + things
        picture = paint(camera, pieces, surroundings, engine=engine)
        sight = see_people(camera, picture, pieces, placed)
        shares = [
            share if mask.sum() >= _MIN_VISIBLE_PX else 0.0  # who is but a few pixels is not seen
            for mask, share in zip(sight.masks, sight.shares, strict=True)
        ]
        if things and min(shares) < _MIN_SHARE_BEHIND_THINGS:
            things = []
        elif len(placed) > 1 and min(shares) < _MIN_VISIBLE_SHARE:
            placed.pop(shares.index(min(shares)))
        else:
            break
    labels = label_people(camera, picture, pieces, placed, sight)
    return Scene(as_bytes(picture.rgb, noise, engine), camera, labels, place)


# ---- who stands where ----------------------------------------------------------------------------------------------


def _lifted(person: Person, rng: np.random.Generator) -> Person:
    return person.moved([0, 0, rng.uniform(0.04, 0.35)])


def _arrange(people: Sequence[Person], rng: np.random.Generator) -> list[Person]:
    """In a loose row, each pushed to the right until nobody steps into another."""
    if len(people) == 1:
        return list(people)
    placed: list[Person] = []
    for person in people:
        depth = rng.uniform(-0.6, 0.9)
        left = placed[-1].joints_m[:, 0].max() if placed else 0.0
        x = left - person.joints_m[:, 0].min() + rng.uniform(-0.25, 0.30) if placed else 0.0
        moved = person.moved([x, depth, 0])
        while any(_distance(moved, other) < _PERSONAL_SPACE_M for other in placed):
            moved = moved.moved([0.08, 0, 0])
        placed.append(moved)
    middle = float(np.mean([person.joints_m[:, 0].mean() for person in placed]))
    return [person.moved([-middle, 0, 0]) for person in placed]


def _distance(a: Person, b: Person) -> float:
    """Between the nearest joints, seen from above."""
    return float(np.linalg.norm(a.joints_m[:, None, :2] - b.joints_m[None, :, :2], axis=-1).min())


def _seats(people: Sequence[Person], rng: np.random.Generator) -> list[Piece]:
    return [seat for person in people if person.support == "seat" and (seat := _seat(person, rng)) is not None]


def _things(people: Sequence[Person], rng: np.random.Generator) -> list[Piece]:
    """Something behind, seldom something in front."""
    things = []
    low, high = extent([person.vertices_m for person in people])
    if rng.random() < 0.30:
        blocks = [crate, table, shelf][int(rng.integers(3))](rng)
        x = rng.choice([low[0] - 0.5, high[0] + 0.5]) + rng.uniform(-0.4, 0.4)
        things.append(
            furniture(
                blocks, furniture_color(rng), at_m=(x, high[1] + rng.uniform(0.5, 1.1)), yaw_deg=rng.uniform(-40, 40)
            )
        )
    if rng.random() < 0.07:
        blocks = crate(rng)
        x = rng.uniform(low[0], high[0])
        things.append(
            furniture(
                blocks, furniture_color(rng), at_m=(x, low[1] - rng.uniform(0.45, 0.7)), yaw_deg=rng.uniform(0, 90)
            )
        )
    return things


def _seat(person: Person, rng: np.random.Generator) -> Piece | None:
    """A stool or chair right under somebody who sits, facing the same way."""
    rest = figure().rest
    seat = person.vertices_m[(rest[:, 1] > -0.42) & (rest[:, 1] < -0.15) & (np.abs(rest[:, 0]) < 0.17)]
    height = float(seat[:, 2].min()) + 0.015
    if not 0.15 < height < 0.9:
        return None
    middle = seat[:, :2].mean(0)
    front = person.rotmat[0] @ np.array([0.0, 0.0, 1.0])
    yaw_deg = float(np.degrees(np.arctan2(front[0], -front[1])))
    upright = person.joints_m[12] - person.joints_m[0]
    backwards = float(-(upright[:2] @ front[:2]))
    blocks = chair(height) if backwards < 0.08 and rng.random() < 0.6 else stool(height, float(rng.uniform(0.34, 0.46)))
    return furniture(blocks, furniture_color(rng), at_m=middle, yaw_deg=yaw_deg)


# ---- camera and walls ----------------------------------------------------------------------------------------------


def _frame(people: Sequence[Person], rng: np.random.Generator, *, width: int, height: int) -> Camera:
    """A camera at a drawn height and angle whose distance makes the people fill a drawn share of the picture."""
    points = np.concatenate([person.vertices_m[::9] for person in people])
    share = rng.uniform(0.62, 0.92) if len(people) == 1 else rng.uniform(0.78, 0.95)
    elevation = np.radians(rng.uniform(28, 50) if rng.random() < 0.08 else rng.normal(7, 6))
    azimuth = np.radians(rng.normal(0, 6))
    fov_deg, roll_deg = rng.uniform(24, 52), rng.normal(0, 2.0)
    offset = rng.uniform(-0.5, 0.5, 2) * (1 - share) * 0.8
    close_up = rng.uniform(1.15, 1.55) if len(people) == 1 and rng.random() < 0.08 else 1.0
    direction = np.array([np.sin(azimuth) * np.cos(elevation), -np.cos(azimuth) * np.cos(elevation), np.sin(elevation)])
    low, high = extent([points])
    target = (low + high) / 2
    distance = 4.0

    def camera() -> Camera:
        eye = target + direction * distance
        eye[2] = max(eye[2], 0.15)
        return Camera.look_at(eye, target, width=width, height=height, fov_deg=fov_deg, roll_deg=roll_deg)

    size = np.array([width, height], np.float64)
    for _ in range(5):
        view = camera()
        pixels, depth = view.project(points)
        if depth.min() < 0.3:
            distance *= 1.5
            continue
        low, high = extent([pixels])
        distance *= float(((high - low) / size).max() / share)
        # Move the target so that the people's middle comes to the drawn place.
        off = ((low + high) / 2 - size * (0.5 + offset)) / view.focal_px * float(np.median(depth))
        target = target + view.R[0] * off[0] + view.R[1] * off[1]
    if close_up > 1:
        distance /= close_up
        target = target + np.array([0, 0, 0.22 * (points[:, 2].max() - points[:, 2].min())]) * (close_up - 1) * 2
    return camera()


def _keep_walls_behind(s: Array, camera: Camera, people: Sequence[Person], things: Sequence[Piece]) -> None:
    """Move the walls outwards until everybody and the camera are inside the room."""
    across = s[shading.WALL_NORMAL : shading.WALL_NORMAL + 2]
    aside = np.array([across[1], -across[0]])
    points = np.concatenate(
        [person.vertices_m[::20, :2] for person in people] + [thing.vertices_m[:, :2] for thing in things]
    )
    if s[shading.PLACE] == shading.ROOM:
        s[shading.WALL_DISTANCE] += max(float((points @ across).max()), 0.0) - 0.6
        s[shading.WALL_DISTANCE] = max(s[shading.WALL_DISTANCE], float((points @ across).max()) + 0.25)
        if s[shading.SIDE_DISTANCE] > 0:
            needed = max(float((points @ aside).max()) + 0.25, float(camera.eye_m[:2] @ aside) + 0.3)
            s[shading.SIDE_DISTANCE] = max(s[shading.SIDE_DISTANCE], needed)
