"""Animals of the built-in world: quadrupeds, birds, fish, insects; from a random generator to solids and keypoints.

Frame: world, z up; an animal faces -y (the viewer), its left is +x, its feet stand near z = 0. Lengths are relative: a
thing is scaled when it is placed in a picture. A family builds every keypoint it knows; a category picks the ones that
make its skeleton (`data/synth/objects.py`).
"""

from dataclasses import dataclass

import numpy as np

from data.synth.solids import Array, Colour, Solid, blob, limb, plate, rotation_about

Points = dict[str, Array]


def shade(colour: Colour, factor: float) -> Colour:
    """The same hue, lighter or darker."""
    r, g, b = (float(np.clip(channel * factor, 0.0, 1.0)) for channel in colour)
    return (r, g, b)


def coat(rng: np.random.Generator, choices: tuple[Colour, ...]) -> Colour:
    """One of the category's colours, a little varied."""
    base = np.array(choices[rng.integers(len(choices))]) + rng.normal(0, 0.03, 3)
    r, g, b = np.clip(base, 0.02, 0.98)
    return (float(r), float(g), float(b))


@dataclass(frozen=True)
class Quadruped:
    """Proportions of a four-legged animal, as shares of its body length."""

    leg: float = 0.75
    girth: float = 0.26
    neck: float = 0.35
    neck_angle_deg: float = 45.0
    head: float = 0.20
    snout: float = 0.18
    tail: float = 0.5
    tail_angle_deg: float = -30.0
    limb: float = 0.075
    ear: str = "point"
    coats: tuple[Colour, ...] = ((0.5, 0.35, 0.2),)
    extras: tuple[str, ...] = ()


def quadruped(shape: Quadruped, rng: np.random.Generator) -> tuple[list[Solid], Points]:
    """A standing or walking quadruped; legs swing, head and tail turn."""
    vary = lambda spread=0.1: float(rng.uniform(1 - spread, 1 + spread))  # noqa: E731
    colour = coat(rng, shape.coats)
    dark, light = shade(colour, 0.6), shade(colour, 1.25)
    leg, girth = shape.leg * vary(), shape.girth * vary(0.12)
    height = leg + girth * 0.5
    half = 0.5 * vary(0.06)
    chest, rump = np.array([0.0, -half * 0.8, height]), np.array([0.0, half * 0.8, height + rng.normal(0, 0.01)])
    solids = [
        blob((0, 0, height), (girth * 0.9, half * 1.05, girth), colour),
        blob(chest, (girth, girth * 1.05, girth * 1.1), colour),
        blob(rump, (girth * 0.95, girth, girth * 1.05), colour),
    ]
    points: Points = {}
    for side in (1.0, -1.0):
        sign = np.array([side, 1.0, 1.0])
        word = "left" if side > 0 else "right"
        for front in (True, False):
            swing = np.radians(rng.uniform(-26, 26))
            bend = np.radians(rng.uniform(0, 30))
            top = np.array([girth * 0.62, -half * 0.78 if front else half * 0.80, height - girth * 0.15])
            upper, lower = leg * 0.48, leg * 0.52
            forward = -1.0 if front else 1.0
            knee = top + upper * np.array([0.06, np.sin(swing) - forward * 0.10, -np.cos(swing)])
            low = swing + forward * bend * 0.5
            foot = knee + lower * np.array([0.0, np.sin(low) * 0.8, -np.cos(low)])
            top, knee, foot = top * sign, knee * sign, foot * sign
            thick = shape.limb * (1.0 if front else 1.15)
            solids += [
                limb(top, knee, thick * 1.5, thick, colour),
                limb(knee, foot, thick, thick * 0.72, colour),
                blob(foot + np.array([0, -0.02, -0.01]), (thick, thick * 1.35, thick * 0.7), dark),
            ]
            names = ("shoulder", "elbow", "front paw") if front else ("hip", "knee", "back paw")
            for name, point in zip(names, (top, knee, foot), strict=True):
                points[f"{word} {name}"] = point
    # neck and head
    pitch = np.radians(shape.neck_angle_deg + rng.uniform(-15, 15))
    turn = rotation_about((0, 0, 1), rng.uniform(-30, 30))
    throat = chest + np.array([0, -girth * 0.45, girth * 0.45])
    poll = throat + turn @ (shape.neck * vary() * np.array([0, -np.cos(pitch), np.sin(pitch)]))
    solids.append(
        limb(throat + np.array([0, girth * 0.3, -girth * 0.1]), poll, girth * 0.62, shape.head * 0.55, colour)
    )
    face = turn @ rotation_about((1, 0, 0), rng.uniform(-12, 15))
    skull = poll + face @ np.array([0, -shape.head * 0.35, shape.head * 0.05])
    nose = skull + face @ np.array([0, -shape.head * 0.55 - shape.snout, -shape.head * 0.22])
    solids += [
        blob(skull, np.array([0.62, 0.78, 0.62]) * shape.head, colour, face),
        limb(
            skull + face @ np.array([0, -shape.head * 0.3, -shape.head * 0.08]),
            nose,
            shape.head * 0.42,
            shape.head * 0.26,
            light,
        ),
        blob(nose + face @ np.array([0, -shape.head * 0.2, 0.02]), np.full(3, shape.head * 0.13), (0.08, 0.07, 0.07)),
    ]
    points["nose"] = nose + face @ np.array([0, -shape.head * 0.3, 0.02])
    points["neck"] = throat + np.array([0, 0, girth * 0.25])
    eye = np.array([0.46, -0.5, 0.26]) * shape.head
    for side in (1.0, -1.0):
        word = "left" if side > 0 else "right"
        at = skull + face @ (eye * np.array([side, 1, 1]))
        solids.append(blob(at, np.full(3, shape.head * 0.12), (0.05, 0.04, 0.04)))
        points[f"{word} eye"] = at
        root = skull + face @ (np.array([side * 0.42, 0.15, 0.45]) * shape.head)
        reach = {
            "point": (0.18, 0.05, 0.55),
            "long": (0.30, 0.15, 0.95),
            "flop": (0.62, 0.05, -0.40),
            "round": (0.22, 0.05, 0.28),
            "sail": (0.95, 0.35, 0.0),
        }
        tip = root + face @ (np.array(reach[shape.ear]) * np.array([side, 1, 1]) * shape.head)
        if shape.ear == "sail":
            solids.append(blob((root + tip) / 2, np.array([0.62, 0.10, 0.72]) * shape.head, dark, face))
        else:
            solids.append(limb(root, tip, shape.head * 0.20, shape.head * 0.10, dark))
        points[f"{word} ear tip"] = tip
        if "horns" in shape.extras:
            base = skull + face @ (np.array([side * 0.2, 0.0, 0.5]) * shape.head)
            horn = base + face @ (np.array([side * 0.25, -0.05, 0.85]) * shape.head)
            solids.append(limb(base, horn, shape.head * 0.11, shape.head * 0.05, (0.85, 0.8, 0.68)))
            points[f"{word} horn tip"] = horn
        if "tusks" in shape.extras:
            base = nose + face @ (np.array([side * 0.28, 0.25, 0.0]) * shape.head)
            tusk = base + face @ (np.array([side * 0.15, -0.75, -0.35]) * shape.head)
            solids.append(limb(base, tusk, shape.head * 0.09, shape.head * 0.03, (0.95, 0.93, 0.85)))
            points[f"{word} tusk tip"] = tusk
    if "trunk" in shape.extras:
        bend = rng.uniform(-0.5, 0.35)
        middle = nose + face @ (np.array([0.0, -0.30, -0.75]) * shape.head)
        tip = middle + face @ (np.array([0.0, -0.35 + bend, -0.85]) * shape.head)
        solids += [
            limb(nose, middle, shape.head * 0.24, shape.head * 0.17, colour),
            limb(middle, tip, shape.head * 0.17, shape.head * 0.11, colour),
        ]
        points["trunk middle"], points["trunk tip"] = middle, tip
    if "mane" in shape.extras:
        for share in np.linspace(0.05, 0.95, 6):
            solids.append(
                blob(throat * (1 - share) + poll * share + np.array([0, 0.08, 0.05]), (0.05, 0.09, 0.09), dark)
            )
    if "wool" in shape.extras:
        for _ in range(26):
            spot = rng.normal(size=3)
            spot = spot / np.linalg.norm(spot) * np.array([girth * 0.95, half * 1.2, girth * 1.05])
            solids.append(blob(np.array([0, 0, height]) + spot, np.full(3, girth * 0.34), light))
    if "hump" in shape.extras:
        solids.append(blob((0, 0.03, height + girth * 0.95), (girth * 0.5, girth * 0.75, girth * 0.75), colour))
        points["hump"] = np.array([0, 0.03, height + girth * 1.65])
    root = rump + np.array([0, girth * 0.8, girth * 0.45])
    lift = np.radians(shape.tail_angle_deg + rng.uniform(-25, 25))
    side_swing = rng.uniform(-0.35, 0.35)
    tip = root + shape.tail * np.array([side_swing, np.cos(lift) * 0.9, np.sin(lift)])
    solids.append(limb(root, tip, shape.limb * 0.75, shape.limb * 0.4, dark if shape.tail > 0.3 else light))
    points["root of tail"], points["tip of tail"] = root, tip
    return solids, points


@dataclass(frozen=True)
class Bird:
    """Proportions of a bird, as shares of its body length."""

    leg: float = 0.35
    neck: float = 0.22
    beak: float = 0.18
    wing: float = 0.75
    tail: float = 0.45
    plump: float = 0.30
    coats: tuple[Colour, ...] = ((0.4, 0.3, 0.2),)


def bird(shape: Bird, rng: np.random.Generator) -> tuple[list[Solid], Points]:
    """A bird on its feet, wings folded to spread."""
    colour = coat(rng, shape.coats)
    belly, dark = shade(colour, 1.35), shade(colour, 0.55)
    orange: Colour = (0.92, 0.58, 0.12)
    height = shape.leg + shape.plump
    body = np.array([0, 0, height])
    tilt = rotation_about((1, 0, 0), rng.uniform(8, 28))
    solids = [
        blob(body, np.array([0.85, 1.7, 0.95]) * shape.plump, colour, tilt),
        blob(
            body + tilt @ np.array([0, -shape.plump * 0.5, -shape.plump * 0.2]),
            np.array([0.7, 1.0, 0.8]) * shape.plump,
            belly,
            tilt,
        ),
    ]
    points: Points = {
        "back": body + tilt @ np.array([0, 0.0, shape.plump * 0.95]),
        "belly": body + tilt @ np.array([0, -0.1, -shape.plump * 0.95]),
    }
    points["breast"] = body + tilt @ np.array([0, -shape.plump * 1.45, -shape.plump * 0.1])
    turn = rotation_about((0, 0, 1), rng.uniform(-40, 40))
    base = body + tilt @ np.array([0, -shape.plump * 1.2, shape.plump * 0.5])
    head = base + np.array([0, -0.35, 0.93]) * shape.neck * rng.uniform(0.85, 1.15)
    size = shape.plump * 0.52
    beak = head + turn @ np.array([0, -size - shape.beak, -size * 0.1])
    solids += [limb(base, head, shape.plump * 0.5, size * 0.75, colour), blob(head, np.full(3, size), colour)]
    solids.append(limb(head + turn @ np.array([0, -size * 0.7, 0]), beak, size * 0.36, size * 0.06, orange))
    points |= {
        "crown": head + np.array([0, 0, size]),
        "nape": head + turn @ np.array([0, size * 0.95, -size * 0.2]),
        "tip of beak": beak,
    }
    points["throat"] = head + turn @ np.array([0, -size * 0.6, -size * 0.8])
    spread = np.radians(rng.uniform(0, 70))
    for side in (1.0, -1.0):
        word = "left" if side > 0 else "right"
        eye = head + turn @ np.array([side * size * 0.72, -size * 0.55, size * 0.35])
        solids.append(blob(eye, np.full(3, size * 0.19), (0.05, 0.05, 0.05)))
        root = body + tilt @ np.array([side * shape.plump * 0.72, -shape.plump * 0.6, shape.plump * 0.35])
        out = np.array([side * np.sin(spread), np.cos(spread) * 0.95, np.sin(spread) * 0.35])
        tip = root + tilt @ (out * shape.wing)
        middle = (root + tip) / 2
        side_axis = tilt @ np.array([0, 0.35, -0.9]) * shape.plump * 0.75
        solids.append(
            plate(
                [root - side_axis * 0.2, middle - side_axis * 0.35, tip, middle + side_axis, root + side_axis * 0.9],
                shape.plump * 0.14,
                dark,
            )
        )
        hip = body + np.array([side * shape.plump * 0.42, shape.plump * 0.1, -shape.plump * 0.7])
        knee = hip + np.array([0, rng.uniform(0.0, 0.08), -shape.leg * 0.45])
        foot = np.array([hip[0], hip[1] - rng.uniform(0.0, 0.12), 0.03])
        solids += [limb(hip, knee, 0.045, 0.022, orange), limb(knee, foot, 0.022, 0.018, orange)]
        solids.append(blob(foot + np.array([0, -0.05, -0.01]), (0.05, 0.09, 0.016), orange))
        points |= {
            f"{word} eye": eye,
            f"{word} wing root": root,
            f"{word} wing tip": tip,
            f"{word} knee": knee,
            f"{word} foot": foot,
        }
    end = body + tilt @ np.array([0, shape.plump * 1.5 + shape.tail, -shape.plump * 0.1])
    start = body + tilt @ np.array([0, shape.plump * 1.3, 0.05])
    width = np.array([shape.plump * 0.35, 0, 0])
    solids.append(plate([start - width * 0.6, end - width, end + width, start + width * 0.6], shape.plump * 0.12, dark))
    points["tip of tail"] = end
    return solids, points


def fish(rng: np.random.Generator, slender: float, coats: tuple[Colour, ...]) -> tuple[list[Solid], Points]:
    """A fish swimming towards -y; `slender` is its length over its height."""
    colour = coat(rng, coats)
    belly, fin = shade(colour, 1.4), shade(colour, 0.65)
    height = 1.0 / slender
    z = 0.6
    sway = np.radians(rng.uniform(-22, 22))
    tail_root = np.array([np.sin(sway) * 0.22, 0.50, z])
    solids = [
        blob((0, -0.05, z), (height * 0.34, 0.52, height * 0.5), colour),
        blob((0, -0.10, z - height * 0.16), (height * 0.30, 0.42, height * 0.36), belly),
        limb((0, 0.25, z), tail_root, height * 0.24, height * 0.10, colour),
    ]
    points: Points = {"mouth": np.array([0, -0.56, z - 0.01]), "root of tail": tail_root}
    fork = height * rng.uniform(0.55, 0.75)
    tail = tail_root + np.array([np.sin(sway) * 0.28, 0.30, 0.0])
    upper, lower = tail + np.array([0, 0, fork]), tail - np.array([0, 0, fork])
    solids.append(
        plate(
            [
                tail_root + np.array([0, 0, height * 0.08]),
                upper,
                tail - np.array([0, 0.10, 0]),
                lower,
                tail_root - np.array([0, 0, height * 0.08]),
            ],
            0.03,
            fin,
        )
    )
    points |= {"upper tail tip": upper, "lower tail tip": lower}
    top = z + height * 0.46
    dorsal = np.array([0, 0.06, top + height * rng.uniform(0.35, 0.5)])
    solids.append(
        plate([(0, -0.18, top - 0.03), dorsal, (0, 0.26, top - height * 0.12), (0, 0.05, top - 0.12)], 0.03, fin)
    )
    anal = np.array([0, 0.26, z - height * 0.75])
    solids.append(plate([(0, 0.02, z - height * 0.42), (0, 0.24, z - height * 0.3), anal], 0.03, fin))
    points |= {
        "front of dorsal fin": np.array([0, -0.18, top - 0.01]),
        "tip of dorsal fin": dorsal,
        "tip of anal fin": anal,
    }
    flap = rng.uniform(-0.10, 0.10)
    for side in (1.0, -1.0):
        word = "left" if side > 0 else "right"
        eye = np.array([side * height * 0.25, -0.40, z + height * 0.13])
        root = np.array([side * height * 0.32, -0.20, z - height * 0.10])
        tip = root + np.array([side * 0.20, 0.16, -0.08 + flap])
        solids += [
            blob(eye, np.full(3, 0.045), (0.97, 0.97, 0.94)),
            blob(eye + np.array([side * 0.025, -0.012, 0]), np.full(3, 0.028), (0.04, 0.04, 0.05)),
        ]
        solids.append(
            plate([root, tip + np.array([0, -0.05, 0.02]), tip, root + np.array([0, 0.10, -0.02])], 0.025, fin)
        )
        gill = np.array([side * height * 0.33, -0.27, z])
        points |= {f"{word} eye": eye, f"{word} gill": gill, f"{word} pectoral fin tip": tip}
    return solids, points


def insect(rng: np.random.Generator, kind: str, coats: tuple[Colour, ...]) -> tuple[list[Solid], Points]:
    """Six legs, two feelers; a butterfly adds wings, a beetle a shell. Faces -y."""
    colour = coat(rng, coats)
    dark = shade(colour, 0.55)
    black: Colour = (0.09, 0.08, 0.08)
    beetle, winged = kind == "beetle", kind == "butterfly"
    z = 0.30
    head, chest, tail = np.array([0, -0.50, z]), np.array([0, -0.18, z + 0.02]), np.array([0, 0.36, z])
    trunk = black if winged else colour
    solids = [
        blob(head, (0.13, 0.14, 0.12), black if beetle else trunk),
        blob(chest, (0.14, 0.20, 0.13), dark if not winged else black),
        blob(
            (0, 0.24, z + 0.02),
            (0.28, 0.42, 0.20) if beetle else (0.10 if winged else 0.18, 0.34, 0.10 if winged else 0.16),
            trunk,
        ),
    ]
    points: Points = {
        "head": head + np.array([0, -0.14, 0]),
        "thorax": chest + np.array([0, 0, 0.13]),
        "end of abdomen": tail + np.array([0, 0.24, 0]),
    }
    thick = 0.030 if beetle else 0.022
    for side in (1.0, -1.0):
        word = "left" if side > 0 else "right"
        solids.append(blob(head + np.array([side * 0.09, -0.06, 0.06]), np.full(3, 0.045), (0.02, 0.02, 0.02)))
        points[f"{word} eye"] = head + np.array([side * 0.12, -0.07, 0.07])
        feeler = head + np.array([side * rng.uniform(0.12, 0.30), -0.34, rng.uniform(0.08, 0.30)])
        solids.append(limb(head + np.array([side * 0.05, -0.09, 0.06]), feeler, 0.016, 0.014, black))
        points[f"{word} feeler tip"] = feeler
        for name, y in (("front", -0.30), ("middle", -0.14), ("back", 0.02)):
            root = np.array([side * 0.12, y, z - 0.04])
            reach = {"front": -0.30, "middle": 0.02, "back": 0.34}[name] + rng.uniform(-0.10, 0.10)
            knee = root + np.array([side * 0.26, reach * 0.5, 0.16])
            foot = np.array([side * (0.52 + rng.uniform(-0.05, 0.05)), y + reach, 0.015])
            solids += [limb(root, knee, thick * 1.2, thick, black), limb(knee, foot, thick, thick * 0.7, black)]
            points |= {f"{word} {name} knee": knee, f"{word} {name} foot": foot}
        if winged:
            lift = rng.uniform(0.25, 0.75)
            out = lambda x, y, side=side, lift=lift: chest + np.array([side * x, y, 0.10 + x * lift])  # noqa: E731
            front_tip, back_tip = out(0.85, -0.42), out(0.62, 0.52)
            solids.append(
                plate([out(0.03, -0.12), out(0.45, -0.48), front_tip, out(0.72, 0.0), out(0.05, 0.05)], 0.02, colour)
            )
            solids.append(
                plate([out(0.03, 0.02), out(0.60, 0.06), back_tip, out(0.25, 0.50), out(0.02, 0.16)], 0.02, dark)
            )
            points |= {f"{word} front wing tip": front_tip, f"{word} back wing tip": back_tip}
    if beetle:
        points["middle of the shell"] = np.array([0, 0.24, z + 0.22])
        solids.append(limb((0, -0.08, z + 0.19), (0, 0.62, z + 0.10), 0.012, 0.012, black))
    return solids, points
