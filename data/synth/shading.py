"""The colour of a point: clothes, skin, hair, furniture; the light of one lamp, the sky and the ground on it.

Written once for one point and for all points (`two_ways`). `backdrop.py` has what is seen where no mesh is,
`shade_loop.py` goes over the picture with both.

Clothes are functions of where a point lies on the body at rest (T-pose, y up, x to the body's left, z to its front):
hems stay crisp at any size and no textures or UV maps are needed.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.synth.two_ways import anywhere, both_ways, negate, select, whole

Array = NDArray[np.float64]

# ---- materials: one row of numbers each; the kind says how they are read -------------------------------------------
BODY, PLAIN, CLOTH = 0, 1, 2

KIND = 0
SKIN, HAIR, TOP, TOP_ACCENT, BOTTOM, SHOE, SOCK, HAT = (
    1,
    4,
    7,
    10,
    13,
    16,
    19,
    22,
)  # three numbers each: red, green, blue
SLEEVE, WAIST, HEM, NECK, V_NECK, SHOE_TOP, SOCK_TOP = 25, 26, 27, 28, 29, 30, 31
HAIRLINE, IS_LONG, PATTERN, PATTERN_SIZE, BELT, BEARD, BUTTONS, HAS_HAT = 32, 33, 34, 35, 36, 37, 38, 39
MATERIAL_SIZE = 40
"""PLAIN and CLOTH use SKIN as their colour; CLOTH has TOP_ACCENT and the pattern too."""

PLAIN_PATTERN, STRIPED, CHECKED, DOTTED, TWO_TONE, PRINTED, OPEN = 0, 1, 2, 3, 4, 5, 6

# ---- surroundings: one row of numbers ------------------------------------------------------------------------------
ROOM, OUTDOOR, STUDIO = 0, 1, 2

LIGHT, LIGHT_COLOR, AMBIENT, PLACE = 0, 3, 6, 9
FLOOR, FLOOR_ACCENT, FLOOR_PATTERN, TILE = 10, 13, 16, 17
WALL, WALL_ACCENT, WALL_NORMAL, WALL_DISTANCE, SIDE_DISTANCE = 18, 21, 24, 26, 27
SHIFT, EXPOSURE, SKYLINE = 28, 30, 31
PANELS = 32  # six panels on the wall: left, right, bottom, top, red, green, blue
NUM_PANELS, PANEL_SIZE = 6, 7
SURROUNDINGS_SIZE = PANELS + NUM_PANELS * PANEL_SIZE

FLOOR_PLAIN, FLOOR_CHECK, FLOOR_PLANKS, FLOOR_NOISE = 0, 1, 2, 3

LAMP_SIZE = 16  # rotation (9), translation (3), focal length, centre (2), unused

FAR_M = 60.0


# ---- what things are made of ---------------------------------------------------------------------------------------


@both_ways
def mix(yes: Any, ar: Any, ag: Any, ab: Any, br: Any, bg: Any, bb: Any) -> Any:
    return select(yes, ar, br), select(yes, ag, bg), select(yes, ab, bb)


@both_ways
def odd(value: Any) -> Any:
    """True in every second interval of length 1: stripes without a sine."""
    half = value * 0.5
    return half - np.floor(half) >= 0.5


@both_ways
def _pattern(kind: float, size: float, x: Any, y: Any, z: Any) -> Any:
    """Where the accent colour shows. `size` is stripes per metre."""
    along = select(np.abs(x) > 0.20, np.abs(x), y)
    if kind == STRIPED:
        return odd(along * size)
    if kind == CHECKED:
        return odd(along * size) != odd((x + z + 10.0) * size)
    if kind == DOTTED:
        u, v = (x + z + 10.0) * size * 0.7, along * size * 0.7
        u, v = u - np.floor(u) - 0.5, v - np.floor(v) - 0.5
        return u * u + v * v < 0.08
    if kind == TWO_TONE:
        return (y < 0.04) | (np.abs(x) > 0.22)
    if kind == PRINTED:  # on the chest
        u, v = x / 0.085, (y - 0.07) / 0.075
        return (z > 0.0) & (u * u + v * v < 1.0)
    if kind == OPEN:  # what is worn below shows in front
        return (z > 0.0) & (np.abs(x) < 0.045 + 0.10 * np.maximum(y, 0.0))
    return x > 1e9


@both_ways
def _dressed(m: Array, x: Any, y: Any, z: Any) -> Any:
    """Red, green, blue and gloss of a dressed body at rest position x, y, z."""
    ax = np.abs(x)
    head = (y > 0.30) & (ax < 0.115)
    r, g, b = m[SKIN], m[SKIN + 1], m[SKIN + 2]
    # cheeks, lips, eyes, brows
    face = head & (z > 0.06) & (y > 0.33) & (y < 0.49) & (ax < 0.07)
    if anywhere(head):  # the beard reaches beyond the face
        cx, cy = (ax - 0.042) / 0.024, (y - 0.398) / 0.020
        r, g, b = mix(face & (cx * cx + cy * cy < 1.0), r * 1.02, g * 0.94, b * 0.93, r, g, b)
        mx, my = x / 0.024, (y - 0.3705) / 0.0072
        r, g, b = mix(face & (z > 0.085) & (mx * mx + my * my < 1.0), r * 0.80, g * 0.55, b * 0.54, r, g, b)
        ex, ey = ax - 0.031, y - 0.4335
        wx, wy = ex / 0.0135, ey / 0.0065
        white = face & (z > 0.085) & (wx * wx + wy * wy < 1.0)
        r, g, b = mix(white, 0.93, 0.92, 0.90, r, g, b)
        r, g, b = mix(white & (ex * ex + ey * ey < 0.0062 * 0.0062), 0.14, 0.09, 0.06, r, g, b)
        brow = face & (np.abs(y - 0.4555 - 0.25 * (0.03 - np.abs(ex))) < 0.0042) & (ax > 0.012) & (ax < 0.050)
        r, g, b = mix(brow, m[HAIR] * 0.6, m[HAIR + 1] * 0.6, m[HAIR + 2] * 0.6, r, g, b)
        if m[BEARD] > 0:
            chin = head & (y < 0.392) & (z > 0.015) & (mx * mx + my * my > 1.0) & (y < 0.375 + 0.35 * (ax - 0.01))
            lip = face & (np.abs(y - 0.384) < 0.005) & (ax < 0.030) & (z > 0.09)
            r, g, b = mix(chin | lip, m[HAIR] * 0.85, m[HAIR + 1] * 0.85, m[HAIR + 2] * 0.85, r, g, b)
    # hair: above a slanted line from the forehead to the nape, not on the ears
    gloss = 0.10 + 0.0 * x
    if anywhere(head):
        line = (y - m[HAIRLINE]) * 0.80 - (z - 0.055) * 0.62
        low = 0.375 - 0.075 * m[IS_LONG]
        ear = (ax > 0.074) & (np.abs(y - 0.425) < 0.034) & (np.abs(z - 0.006) < 0.027)
        temple = (z > 0.025) & (y < 0.425)
        hair = head & (line > 0.0) & (y > low) & negate(temple) & negate(ear)
        r, g, b = mix(hair, m[HAIR], m[HAIR + 1], m[HAIR + 2], r, g, b)
        gloss = select(hair, 0.16, gloss)
        if m[HAS_HAT] > 0:
            cap = head & ((y - 0.472) * 0.97 - (z - 0.055) * 0.24 > 0.0)
            r, g, b = mix(cap, m[HAT], m[HAT + 1], m[HAT + 2], r, g, b)

    body = negate(head)
    # bare legs, socks, shoes
    sock = body & (y < m[SOCK_TOP])
    r, g, b = mix(sock, m[SOCK], m[SOCK + 1], m[SOCK + 2], r, g, b)
    shoe = body & (y < m[SHOE_TOP] + 0.25 * np.minimum(np.maximum(-z, 0.0), 0.05))
    r, g, b = mix(shoe, m[SHOE], m[SHOE + 1], m[SHOE + 2], r, g, b)
    sole = shoe & (y < -1.147)
    r, g, b = mix(sole, 0.80, 0.80, 0.78, r, g, b)
    # trousers
    bottom = body & (y <= m[WAIST]) & (y > m[HEM]) & (ax < 0.35)
    r, g, b = mix(bottom, m[BOTTOM], m[BOTTOM + 1], m[BOTTOM + 2], r, g, b)
    if m[BELT] > 0:
        belt = bottom & (y > m[WAIST] - 0.028)
        r, g, b = mix(belt, 0.10, 0.07, 0.05, r, g, b)
    # top: up to a round or pointed neck line, out to the sleeve's end
    deep = select(z > -0.02, 1.0 / (1.0 + 0.55 * m[V_NECK]), 1.0)
    nx, ny = x / 0.9, (y - 0.305) * deep
    top = body & (y > m[WAIST]) & (ax < m[SLEEVE]) & (nx * nx + ny * ny > m[NECK] * m[NECK]) & ((y > 0.05) | (ax < 0.3))
    accent = _pattern(m[PATTERN], m[PATTERN_SIZE], x, y, z)
    tr, tg, tb = mix(accent, m[TOP_ACCENT], m[TOP_ACCENT + 1], m[TOP_ACCENT + 2], m[TOP], m[TOP + 1], m[TOP + 2])
    if m[BUTTONS] > 0:
        row = (y + 1.0) * 14.0
        placket = (z > 0.0) & (ax < 0.012)
        dot = placket & (ax < 0.006) & (np.abs(row - np.floor(row) - 0.5) < 0.09)
        tr, tg, tb = mix(placket, tr * 0.86, tg * 0.86, tb * 0.86, tr, tg, tb)
        tr, tg, tb = mix(dot, 0.90, 0.90, 0.88, tr, tg, tb)
    r, g, b = mix(top, tr, tg, tb, r, g, b)
    gloss = select(bottom | top | sock, 0.03, gloss)
    return r, g, b, gloss


@both_ways
def surface(m: Array, x: Any, y: Any, z: Any) -> Any:
    """Colour and gloss of a material."""
    if m[KIND] == BODY:
        return _dressed(m, x, y, z)
    r, g, b = m[SKIN] + 0.0 * x, m[SKIN + 1] + 0.0 * x, m[SKIN + 2] + 0.0 * x
    if m[KIND] == CLOTH:
        accent = _pattern(m[PATTERN], m[PATTERN_SIZE], x, y, z)
        r, g, b = mix(accent, m[TOP_ACCENT], m[TOP_ACCENT + 1], m[TOP_ACCENT + 2], r, g, b)
        return r, g, b, 0.03 + 0.0 * x
    return r, g, b, 0.08 + 0.0 * x


# ---- light ---------------------------------------------------------------------------------------------------------


@both_ways
def lit_share(lamp: Array, shadow_map: Array, x: Any, y: Any, z: Any, bias_m: float) -> Any:
    """Share of the lamp that reaches a world point: 16 cells of the lamp's depth map around it, 1 outside the map."""
    cx = lamp[0] * x + lamp[1] * y + lamp[2] * z + lamp[9]
    cy = lamp[3] * x + lamp[4] * y + lamp[5] * z + lamp[10]
    cz = lamp[6] * x + lamp[7] * y + lamp[8] * z + lamp[11]
    cz = np.maximum(cz, 0.1)
    u, v = cx / cz * lamp[12] + lamp[13], cy / cz * lamp[12] + lamp[14]
    size = shadow_map.shape[0]
    inside = (u > 2.0) & (v > 2.0) & (u < size - 3.0) & (v < size - 3.0)
    column = whole(np.minimum(np.maximum(u - 1.5, 0.0), size - 4.0))
    row = whole(np.minimum(np.maximum(v - 1.5, 0.0), size - 4.0))
    reached = whole(0.0 * x)  # counted in whole numbers: one sum of floats has to wait for the one before
    if anywhere(inside):
        for dy in range(4):
            for dx in range(4):
                reached = reached + select(shadow_map[row + dy, column + dx] > cz - bias_m, 1, 0)
    return select(inside, reached * 0.0625, 1.0)


@both_ways
def shaded(
    s: Array, r: Any, g: Any, b: Any, gloss: Any, nx: Any, ny: Any, nz: Any, ex: Any, ey: Any, ez: Any, lit: Any
) -> Any:
    """Light that leaves a surface (normal n) towards the eye (e): of the lamp, sky, ground, and a little of the eye."""
    lx, ly, lz = s[LIGHT], s[LIGHT + 1], s[LIGHT + 2]
    hx, hy, hz = lx + ex, ly + ey, lz + ez
    scale = 1.0 / np.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
    shine = np.maximum((nx * hx + ny * hy + nz * hz) * scale, 0.0)
    shine = shine * shine
    shine = shine * shine
    shine = shine * shine
    shine = shine * shine * gloss * lit  # the 16th power
    r, g, b = matt(s, r, g, b, nx, ny, nz, ex, ey, ez, lit)
    return r + shine, g + shine, b + shine


@both_ways
def matt(s: Array, r: Any, g: Any, b: Any, nx: Any, ny: Any, nz: Any, ex: Any, ey: Any, ez: Any, lit: Any) -> Any:
    """The same of a surface without gloss, as floors and walls are."""
    diffuse = np.maximum(nx * s[LIGHT] + ny * s[LIGHT + 1] + nz * s[LIGHT + 2], 0.0) * lit
    fill = 0.20 * np.maximum(nx * ex + ny * ey + nz * ez, 0.0)
    sky = 0.72 + 0.38 * nz
    return (
        r * (s[AMBIENT] * sky + fill + s[LIGHT_COLOR] * diffuse),
        g * (s[AMBIENT + 1] * sky + fill + s[LIGHT_COLOR + 1] * diffuse),
        b * (s[AMBIENT + 2] * sky + fill + s[LIGHT_COLOR + 2] * diffuse),
    )


@both_ways
def unit(x: Any, y: Any, z: Any) -> Any:
    """The same direction, one long."""
    scale = 1.0 / np.sqrt(x * x + y * y + z * z + 1e-12)
    return x * scale, y * scale, z * scale


@both_ways
def film(s: Array, value: Any) -> Any:
    """What the camera records, 0..1: linear for dark and middle tones, bending to 1: x / (1 + x^4)^(1/4)."""
    x = np.maximum(value * s[EXPOSURE], 0.0)
    square = x * x
    return x / np.sqrt(np.sqrt(1.0 + square * square))
