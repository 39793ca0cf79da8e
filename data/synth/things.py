"""Made things of the built-in world: vehicles, furniture, a toy robot, a hand. Frame as in `data/synth/animals.py`."""

import numpy as np

from data.synth.animals import Points, coat, shade
from data.synth.solids import Array, Colour, Solid, blob, box, limb, rotation_about, wedge

PAINTS: tuple[Colour, ...] = (
    (0.75, 0.12, 0.12),
    (0.15, 0.30, 0.70),
    (0.85, 0.85, 0.86),
    (0.12, 0.12, 0.14),
    (0.88, 0.68, 0.12),
    (0.15, 0.50, 0.30),
    (0.55, 0.57, 0.60),
)
WOODS: tuple[Colour, ...] = (
    (0.55, 0.36, 0.20),
    (0.72, 0.54, 0.34),
    (0.34, 0.22, 0.14),
    (0.85, 0.83, 0.80),
    (0.30, 0.45, 0.55),
    (0.62, 0.25, 0.22),
)
GLASS: Colour = (0.25, 0.33, 0.40)
TYRE: Colour = (0.07, 0.07, 0.08)


def _wheel(centre: Array, radius: float, width: float) -> list[Solid]:
    turn = rotation_about((0, 1, 0), 90)
    return [
        blob(centre, (radius, radius, width * 0.62), TYRE, turn),
        blob(
            centre + np.array([np.sign(centre[0]) * width * 0.35, 0, 0]),
            (radius * 0.5, radius * 0.5, width * 0.35),
            (0.78, 0.78, 0.80),
            turn,
        ),
    ]


def vehicle(rng: np.random.Generator, kind: str) -> tuple[list[Solid], Points]:
    """A car, a van or a pick-up truck: wheels, lights and the corners of the roof."""
    paint = coat(rng, PAINTS)
    length, width = {"car": (2.1, 0.92), "van": (2.2, 1.0), "truck": (2.5, 1.0)}[kind]
    length *= rng.uniform(0.92, 1.08)
    radius = rng.uniform(0.17, 0.21)
    floor, belt = radius * 0.75, radius * 0.75 + {"car": 0.36, "van": 0.46, "truck": 0.46}[kind]
    roof = belt + {"car": 0.30, "van": 0.48, "truck": 0.36}[kind] * rng.uniform(0.9, 1.1)
    front, back = -length / 2, length / 2
    x = width / 2
    # where the cabin begins and ends: at the belt, then at the roof
    cabin = {"car": (-0.46, 0.80, -0.16, 0.52), "van": (-0.86, 0.98, -0.62, 0.96), "truck": (-0.55, 0.28, -0.30, 0.20)}[
        kind
    ]
    low_front, low_back, top_front, top_back = (share * length / 2 for share in cabin)
    body = [(-x, front, floor), (x, front, floor), (x, back, floor), (-x, back, floor)]
    hood = [
        (-x, front + 0.04, belt - 0.08),
        (x, front + 0.04, belt - 0.08),
        (x, back - 0.03, belt),
        (-x, back - 0.03, belt),
    ]
    inner, narrow = x * 0.96, x * 0.80
    base = [
        (-inner, low_front, belt - 0.06),
        (inner, low_front, belt - 0.06),
        (inner, low_back, belt - 0.02),
        (-inner, low_back, belt - 0.02),
    ]
    top = [(-narrow, top_front, roof), (narrow, top_front, roof), (narrow, top_back, roof), (-narrow, top_back, roof)]
    lid = [(px * 0.99, py, pz + 0.035) for px, py, pz in top]
    solids = [wedge(body, hood, paint), wedge(base, top, GLASS), wedge(top, lid, paint)]
    for share in (0.0, 1.0) if kind == "truck" else (0.0, 0.45, 1.0):  # the pillars between the windows
        for side in (-1.0, 1.0):
            low = np.array([side * inner, low_front + share * (low_back - low_front), belt - 0.04])
            high = np.array([side * narrow, top_front + share * (top_back - top_front), roof])
            solids.append(limb(low, high, 0.035, 0.03, paint))
    if kind == "truck":
        for side in (-1.0, 1.0):
            solids.append(
                box((side * (x - 0.03), (low_back + back) / 2, belt + 0.05), (0.06, back - low_back, 0.16), paint)
            )
        solids.append(box((0, back - 0.04, belt + 0.05), (width, 0.06, 0.16), paint))
    points: Points = {}
    for side, word in ((1.0, "left"), (-1.0, "right")):
        for end, y in (("front", front + length * 0.17), ("back", back - length * 0.18)):
            wheel = np.array([side * (x - 0.02), y, radius])
            solids += _wheel(wheel, radius, 0.16)
            points[f"{word} {end} wheel"] = wheel + np.array([side * 0.08, 0, 0])
        lamp, rear = (
            np.array([side * x * 0.76, front + 0.02, belt - 0.17]),
            np.array([side * x * 0.82, back - 0.015, belt - 0.12]),
        )
        solids += [
            blob(lamp, (0.11, 0.045, 0.075), (0.98, 0.96, 0.80)),
            blob(rear, (0.09, 0.04, 0.09), (0.85, 0.08, 0.06)),
        ]
        mirror = np.array([side * (x + 0.09), low_front + 0.10, belt + 0.07])
        solids.append(blob(mirror, (0.085, 0.05, 0.06), paint))
        points |= {f"{word} headlight": lamp, f"{word} back light": rear, f"{word} mirror": mirror}
        points[f"{word} front roof corner"] = np.array([side * narrow, top_front, roof + 0.02])
        points[f"{word} back roof corner"] = np.array([side * narrow, top_back, roof + 0.02])
    solids.append(box((0, front + 0.01, floor + 0.10), (width * 0.42, 0.03, 0.09), (0.92, 0.92, 0.9)))
    points["number plate"] = np.array([0, front - 0.01, floor + 0.10])
    return solids, points


def chair(rng: np.random.Generator) -> tuple[list[Solid], Points]:
    """A chair with four legs, a seat and a back; faces -y. Left and right are those of a person sitting on it."""
    wood, cloth = coat(rng, WOODS), coat(rng, PAINTS + WOODS)
    width, depth = rng.uniform(0.42, 0.56), rng.uniform(0.42, 0.54)
    seat, back = rng.uniform(0.40, 0.52), rng.uniform(0.42, 0.70)
    lean = np.tan(np.radians(rng.uniform(2, 16))) * back
    splay, thick = rng.uniform(0.0, 0.06), rng.uniform(0.018, 0.032)
    solids = [box((0, 0, seat), (width, depth, 0.06), cloth)]
    points: Points = {}
    for side, word in ((1.0, "left"), (-1.0, "right")):
        x = side * width * 0.46
        for end, y in (("front", -depth * 0.46), ("back", depth * 0.46)):
            foot = np.array([x + side * splay, y + np.sign(y) * splay, 0.0])
            solids.append(limb((x, y, seat), foot, thick, thick * 0.8, wood))
            points[f"{word} {end} leg end"] = foot
            points[f"{word} {end} seat corner"] = np.array([side * width / 2, np.sign(y) * depth / 2, seat + 0.03])
        top = np.array([x, depth * 0.46 + lean, seat + back])
        solids.append(limb((x, depth * 0.46, seat), top, thick, thick, wood))
        points[f"{word} top of the back"] = top
    tilt = rotation_about((1, 0, 0), -np.degrees(np.arctan2(lean, back)))
    solids.append(
        box(
            (0, depth * 0.46 + lean * 0.66, seat + back * 0.68),
            (width * 0.9, 0.035, back * rng.uniform(0.35, 0.6)),
            cloth,
            tilt,
        )
    )
    return solids, points


def table(rng: np.random.Generator) -> tuple[list[Solid], Points]:
    """A four-legged table with a lower shelf or none."""
    wood = coat(rng, WOODS)
    length, depth, height = rng.uniform(0.9, 1.5), rng.uniform(0.55, 0.8), rng.uniform(0.5, 0.78)
    thick, inset = rng.uniform(0.03, 0.05), rng.uniform(0.04, 0.12)
    solids = [box((0, 0, height), (length, depth, 0.06), wood)]
    points: Points = {}
    for side, word in ((1.0, "left"), (-1.0, "right")):
        for end, sign in (("front", -1.0), ("back", 1.0)):
            top = np.array([side * (length / 2 - inset), sign * (depth / 2 - inset), height])
            foot = np.array([top[0], top[1], 0.0])
            solids.append(limb(top, foot, thick, thick * 0.75, shade(wood, 0.8)))
            points[f"{word} {end} leg end"] = foot
            points[f"{word} {end} table corner"] = np.array([side * length / 2, sign * depth / 2, height + 0.03])
    if rng.random() < 0.5:
        solids.append(box((0, 0, height * 0.35), (length * 0.8, depth * 0.7, 0.04), shade(wood, 0.9)))
    return solids, points


def lamp(rng: np.random.Generator) -> tuple[list[Solid], Points]:
    """A desk lamp with two arms and a shade."""
    paint, metal = coat(rng, PAINTS), coat(rng, ((0.6, 0.6, 0.62), (0.2, 0.2, 0.22), (0.75, 0.62, 0.3)))
    turn = rotation_about((0, 0, 1), rng.uniform(-60, 60))
    lower, upper = rng.uniform(0.45, 0.65), rng.uniform(0.40, 0.6)
    a, b = np.radians(rng.uniform(5, 40)), np.radians(rng.uniform(25, 80))
    base = np.array([0.0, 0.0, 0.04])
    elbow = base + turn @ (lower * np.array([0, np.sin(a), np.cos(a)]))
    wrist = elbow + turn @ (upper * np.array([0, -np.sin(b), np.cos(b)]))
    down = turn @ rotation_about((1, 0, 0), rng.uniform(-25, 35)) @ np.array([0, -0.35, -0.93])
    rim = wrist + down * 0.26
    across = turn @ np.array([1.0, 0, 0])
    other = np.cross(down, across)
    solids = [
        blob(base, (0.22, 0.22, 0.05), metal),
        limb(base, elbow, 0.028, 0.024, metal),
        limb(elbow, wrist, 0.024, 0.022, metal),
        blob(elbow, (0.045, 0.045, 0.045), shade(metal, 0.7)),
        limb(wrist, rim, 0.075, 0.175, paint),
        blob(rim + down * 0.10, (0.08, 0.08, 0.08), (1.0, 0.95, 0.72)),
    ]
    radius = 0.19
    points = {
        "middle of the base": base + np.array([0, 0, 0.05]),
        "left edge of the base": np.array([0.22, 0, 0.04]),
        "right edge of the base": np.array([-0.22, 0, 0.04]),
        "elbow": elbow,
        "top of the arm": wrist,
        "bulb": rim + down * 0.17,
        "left rim of the shade": rim + down * 0.08 + across * radius,
        "right rim of the shade": rim + down * 0.08 - across * radius,
        "front rim of the shade": rim + down * 0.08 - other * radius,
        "middle of the lower arm": (base + elbow) / 2,
        "middle of the upper arm": (elbow + wrist) / 2,
    }
    return solids, points


def robot(rng: np.random.Generator) -> tuple[list[Solid], Points]:
    """A toy robot: boxes for trunk and head, ball joints, round eyes, two aerials."""
    shell, trim = coat(rng, PAINTS), coat(rng, PAINTS)
    metal: Colour = (0.62, 0.64, 0.67)
    width, trunk, leg = rng.uniform(0.32, 0.46), rng.uniform(0.34, 0.48), rng.uniform(0.34, 0.50)
    hip = leg + 0.06
    head = np.array([0, 0, hip + trunk + 0.19])
    turn = rotation_about((0, 0, 1), rng.uniform(-35, 35))
    side_of_head = rng.uniform(0.22, 0.32)
    solids = [
        box((0, 0, hip + trunk / 2), (width, 0.24, trunk), shell),
        box((0, -0.125, hip + trunk * 0.55), (width * 0.6, 0.02, trunk * 0.4), trim),
        box(head, (side_of_head, 0.22, 0.24), trim, turn),
        limb((0, 0, hip + trunk), head, 0.05, 0.05, metal),
    ]
    points: Points = {
        "chest plate": np.array([0, -0.14, hip + trunk * 0.55]),
        "neck": np.array([0, 0, hip + trunk + 0.03]),
    }
    points["mouth"] = head + turn @ np.array([0, -0.12, -0.06])
    solids.append(box(points["mouth"], (side_of_head * 0.5, 0.02, 0.03), (0.1, 0.1, 0.1), turn))
    for side, word in ((1.0, "left"), (-1.0, "right")):
        eye = head + turn @ np.array([side * side_of_head * 0.25, -0.115, 0.04])
        aerial = head + turn @ np.array([side * side_of_head * 0.42, 0, 0.27])
        solids += [
            blob(eye, (0.045, 0.045, 0.045), (0.98, 0.95, 0.55)),
            limb(head + turn @ np.array([side * side_of_head * 0.35, 0, 0.11]), aerial, 0.012, 0.012, metal),
        ]
        solids.append(blob(aerial, (0.032, 0.032, 0.032), (0.9, 0.2, 0.15)))
        raise_deg, bend_deg = rng.uniform(-80, 70), rng.uniform(0, 70)
        shoulder = np.array([side * (width / 2 + 0.05), 0, hip + trunk * 0.88])
        direction = np.array([side * np.cos(np.radians(raise_deg)), -0.15, np.sin(np.radians(raise_deg))])
        elbow = shoulder + 0.22 * direction
        hand = elbow + 0.22 * (rotation_about((0, 1, 0), -side * bend_deg) @ direction)
        swing = np.radians(rng.uniform(-25, 25))
        top = np.array([side * width * 0.28, 0, hip])
        knee = top + leg * 0.5 * np.array([0, -np.sin(swing), -np.cos(swing)])
        foot = knee + leg * 0.5 * np.array([0, -np.sin(swing * 0.3), -np.cos(swing * 0.3)])
        solids += [
            blob(shoulder, (0.065, 0.065, 0.065), metal),
            limb(shoulder, elbow, 0.042, 0.038, shell),
            blob(elbow, (0.05, 0.05, 0.05), metal),
            limb(elbow, hand, 0.04, 0.045, trim),
            limb(top, knee, 0.06, 0.05, shell),
            blob(knee, (0.06, 0.06, 0.06), metal),
            limb(knee, foot, 0.05, 0.055, trim),
            box(foot + np.array([0, -0.05, -0.03]), (0.13, 0.22, 0.08), shell),
        ]
        for name, point in (
            ("eye", eye),
            ("aerial tip", aerial),
            ("shoulder", shoulder),
            ("elbow", elbow),
            ("hand", hand),
            ("knee", knee),
            ("foot", foot),
        ):
            points[f"{word} {name}"] = point
    return solids, points


FINGERS = ("thumb", "index finger", "middle finger", "ring finger", "little finger")


def hand(rng: np.random.Generator) -> tuple[list[Solid], Points]:
    """A left hand held up, palm towards the viewer: wrist and four points per finger, 21 in all."""
    skin = coat(
        rng, ((0.95, 0.80, 0.70), (0.88, 0.69, 0.57), (0.78, 0.57, 0.44), (0.62, 0.43, 0.31), (0.42, 0.28, 0.20))
    )
    wrist, palm = np.array([0.0, 0.0, 0.12]), np.array([0.0, 0.0, 0.52])
    solids = [
        limb((0, 0.02, -0.25), wrist, 0.15, 0.14, shade(skin, 0.98)),
        blob(palm - np.array([0, 0, 0.08]), (0.30, 0.10, 0.36), skin),
    ]
    points: Points = {"wrist": wrist}
    # a left hand, palm to the viewer (-y): the thumb points to the viewer's left (-x)
    roots = {
        "thumb": (-0.24, 0.30),
        "index finger": (-0.22, 0.80),
        "middle finger": (-0.07, 0.86),
        "ring finger": (0.08, 0.82),
        "little finger": (0.22, 0.72),
    }
    lengths = {"thumb": 0.40, "index finger": 0.55, "middle finger": 0.62, "ring finger": 0.56, "little finger": 0.42}
    fist = rng.random() < 0.25
    for finger in FINGERS:
        x, z = roots[finger]
        spread = np.radians(
            {"thumb": -42, "index finger": -8, "middle finger": 0, "ring finger": 7, "little finger": 16}[finger]
            + rng.normal(0, 5)
        )
        curl = np.radians(rng.uniform(20, 75) if fist or rng.random() < 0.3 else rng.uniform(0, 16))
        along = np.array([np.sin(spread), 0.0, np.cos(spread)])
        at, angle = np.array([x, 0.0, z]), 0.0
        thick = 0.072 if finger == "thumb" else 0.060
        points[f"root of the {finger}"] = at
        for share, name in ((0.44, "lower joint"), (0.31, "upper joint"), (0.25, "tip")):
            angle += curl * 0.9
            step = lengths[finger] * share * (np.cos(angle) * along + np.sin(angle) * np.array([0, -1.0, 0]))
            solids.append(limb(at, at + step, thick, thick * 0.9, skin))
            at, thick = at + step, thick * 0.9
            points[f"{name} of the {finger}"] = at
    solids.append(limb(wrist + np.array([-0.06, -0.02, 0.10]), points["root of the thumb"], 0.11, 0.08, skin))
    return solids, points
