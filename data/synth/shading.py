"""The colour of every pixel of a scene: clothes, skin, furniture, walls, floor, sky, one lamp and its shadows.

One source, two executions. The functions below see one point at a time as plain numbers when numba compiles them into
the loop at the end, and all points at once as arrays when numpy runs them. Choices that differ from point to point
therefore go through `select`; choices that are the same for a whole material or picture are plain `if`. Only + - * /
and square roots are used, in one order, so both give the same bits (no sin, exp or powers: their last digit differs
between libraries).

All of it is one long file because numba keeps compiled loops on disk and looks for changes in the loop's own file only.
`picture.py` calls it.

Clothes are functions of where a point lies on the body at rest (T-pose, y up, x to the body's left, z to its front):
hems stay crisp at any size and no textures or UV maps are needed.
"""

import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

# numba compares the signatures below with those of their implementations, annotations and all; a lambda has none.
# pyright: reportMissingParameterType=false

Array = NDArray[np.float64]

HAS_NUMBA = importlib.util.find_spec("numba") is not None

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


def select(condition: Any, yes: Any, no: Any) -> Any:
    """`yes` where the condition holds, else `no`."""
    return np.where(condition, yes, no)


def negate(condition: Any) -> Any:
    """The opposite of a condition."""
    return np.logical_not(condition)


def anywhere(condition: Any) -> Any:
    """Whether what follows is needed at all: for one point its condition, for many whether it holds for any."""
    return np.any(condition)


def cell(value: Any) -> Any:
    """Index 0..255 into a table that repeats."""
    return np.floor(value).astype(np.int64) & 255


def whole(value: Any) -> Any:
    """Rounded down to an index."""
    return np.floor(value).astype(np.int64)


if HAS_NUMBA:
    from numba.extending import overload, register_jitable

    def both_ways(function: Any) -> Any:
        """Callable from Python as it is, and from compiled loops."""
        return register_jitable(function)

    @overload(select)
    def _select(condition, yes, no):
        return lambda condition, yes, no: yes if condition else no

    @overload(negate)
    def _negate(condition):
        return lambda condition: not condition

    @overload(anywhere)
    def _anywhere(condition):
        return lambda condition: condition

    @overload(cell)
    def _cell(value):
        return lambda value: int(np.floor(value)) & 255

    @overload(whole)
    def _whole(value):
        return lambda value: int(np.floor(value))
else:

    def both_ways(function: Any) -> Any:
        return function


# ---- what things are made of ---------------------------------------------------------------------------------------


@both_ways
def _mix(yes: Any, ar: Any, ag: Any, ab: Any, br: Any, bg: Any, bb: Any) -> Any:
    return select(yes, ar, br), select(yes, ag, bg), select(yes, ab, bb)


@both_ways
def _odd(value: Any) -> Any:
    """True in every second interval of length 1: stripes without a sine."""
    half = value * 0.5
    return half - np.floor(half) >= 0.5


@both_ways
def _pattern(kind: float, size: float, x: Any, y: Any, z: Any) -> Any:
    """Where the accent colour shows. `size` is stripes per metre."""
    along = select(np.abs(x) > 0.20, np.abs(x), y)
    if kind == STRIPED:
        return _odd(along * size)
    if kind == CHECKED:
        return _odd(along * size) != _odd((x + z + 10.0) * size)
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
        r, g, b = _mix(face & (cx * cx + cy * cy < 1.0), r * 1.02, g * 0.94, b * 0.93, r, g, b)
        mx, my = x / 0.024, (y - 0.3705) / 0.0072
        r, g, b = _mix(face & (z > 0.085) & (mx * mx + my * my < 1.0), r * 0.80, g * 0.55, b * 0.54, r, g, b)
        ex, ey = ax - 0.031, y - 0.4335
        wx, wy = ex / 0.0135, ey / 0.0065
        white = face & (z > 0.085) & (wx * wx + wy * wy < 1.0)
        r, g, b = _mix(white, 0.93, 0.92, 0.90, r, g, b)
        r, g, b = _mix(white & (ex * ex + ey * ey < 0.0062 * 0.0062), 0.14, 0.09, 0.06, r, g, b)
        brow = face & (np.abs(y - 0.4555 - 0.25 * (0.03 - np.abs(ex))) < 0.0042) & (ax > 0.012) & (ax < 0.050)
        r, g, b = _mix(brow, m[HAIR] * 0.6, m[HAIR + 1] * 0.6, m[HAIR + 2] * 0.6, r, g, b)
        if m[BEARD] > 0:
            chin = head & (y < 0.392) & (z > 0.015) & (mx * mx + my * my > 1.0) & (y < 0.375 + 0.35 * (ax - 0.01))
            lip = face & (np.abs(y - 0.384) < 0.005) & (ax < 0.030) & (z > 0.09)
            r, g, b = _mix(chin | lip, m[HAIR] * 0.85, m[HAIR + 1] * 0.85, m[HAIR + 2] * 0.85, r, g, b)
    # hair: above a slanted line from the forehead to the nape, not on the ears
    gloss = 0.10 + 0.0 * x
    if anywhere(head):
        line = (y - m[HAIRLINE]) * 0.80 - (z - 0.055) * 0.62
        low = 0.375 - 0.075 * m[IS_LONG]
        ear = (ax > 0.074) & (np.abs(y - 0.425) < 0.034) & (np.abs(z - 0.006) < 0.027)
        temple = (z > 0.025) & (y < 0.425)
        hair = head & (line > 0.0) & (y > low) & negate(temple) & negate(ear)
        r, g, b = _mix(hair, m[HAIR], m[HAIR + 1], m[HAIR + 2], r, g, b)
        gloss = select(hair, 0.16, gloss)
        if m[HAS_HAT] > 0:
            cap = head & ((y - 0.472) * 0.97 - (z - 0.055) * 0.24 > 0.0)
            r, g, b = _mix(cap, m[HAT], m[HAT + 1], m[HAT + 2], r, g, b)

    body = negate(head)
    # bare legs, socks, shoes
    sock = body & (y < m[SOCK_TOP])
    r, g, b = _mix(sock, m[SOCK], m[SOCK + 1], m[SOCK + 2], r, g, b)
    shoe = body & (y < m[SHOE_TOP] + 0.25 * np.minimum(np.maximum(-z, 0.0), 0.05))
    r, g, b = _mix(shoe, m[SHOE], m[SHOE + 1], m[SHOE + 2], r, g, b)
    sole = shoe & (y < -1.147)
    r, g, b = _mix(sole, 0.80, 0.80, 0.78, r, g, b)
    # trousers
    bottom = body & (y <= m[WAIST]) & (y > m[HEM]) & (ax < 0.35)
    r, g, b = _mix(bottom, m[BOTTOM], m[BOTTOM + 1], m[BOTTOM + 2], r, g, b)
    if m[BELT] > 0:
        belt = bottom & (y > m[WAIST] - 0.028)
        r, g, b = _mix(belt, 0.10, 0.07, 0.05, r, g, b)
    # top: up to a round or pointed neck line, out to the sleeve's end
    deep = select(z > -0.02, 1.0 / (1.0 + 0.55 * m[V_NECK]), 1.0)
    nx, ny = x / 0.9, (y - 0.305) * deep
    top = body & (y > m[WAIST]) & (ax < m[SLEEVE]) & (nx * nx + ny * ny > m[NECK] * m[NECK]) & ((y > 0.05) | (ax < 0.3))
    accent = _pattern(m[PATTERN], m[PATTERN_SIZE], x, y, z)
    tr, tg, tb = _mix(accent, m[TOP_ACCENT], m[TOP_ACCENT + 1], m[TOP_ACCENT + 2], m[TOP], m[TOP + 1], m[TOP + 2])
    if m[BUTTONS] > 0:
        row = (y + 1.0) * 14.0
        placket = (z > 0.0) & (ax < 0.012)
        dot = placket & (ax < 0.006) & (np.abs(row - np.floor(row) - 0.5) < 0.09)
        tr, tg, tb = _mix(placket, tr * 0.86, tg * 0.86, tb * 0.86, tr, tg, tb)
        tr, tg, tb = _mix(dot, 0.90, 0.90, 0.88, tr, tg, tb)
    r, g, b = _mix(top, tr, tg, tb, r, g, b)
    gloss = select(bottom | top | sock, 0.03, gloss)
    return r, g, b, gloss


@both_ways
def _surface(m: Array, x: Any, y: Any, z: Any) -> Any:
    """Colour and gloss of a material."""
    if m[KIND] == BODY:
        return _dressed(m, x, y, z)
    r, g, b = m[SKIN] + 0.0 * x, m[SKIN + 1] + 0.0 * x, m[SKIN + 2] + 0.0 * x
    if m[KIND] == CLOTH:
        accent = _pattern(m[PATTERN], m[PATTERN_SIZE], x, y, z)
        r, g, b = _mix(accent, m[TOP_ACCENT], m[TOP_ACCENT + 1], m[TOP_ACCENT + 2], r, g, b)
        return r, g, b, 0.03 + 0.0 * x
    return r, g, b, 0.08 + 0.0 * x


# ---- light ---------------------------------------------------------------------------------------------------------


@both_ways
def _lit(lamp: Array, shadow_map: Array, x: Any, y: Any, z: Any, bias_m: float) -> Any:
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
def _shaded(
    s: Array, r: Any, g: Any, b: Any, gloss: Any, nx: Any, ny: Any, nz: Any, ex: Any, ey: Any, ez: Any, lit: Any
):
    """Light that leaves a surface (normal n) towards the eye (e): of the lamp, sky, ground, and a little of the eye."""
    lx, ly, lz = s[LIGHT], s[LIGHT + 1], s[LIGHT + 2]
    diffuse = np.maximum(nx * lx + ny * ly + nz * lz, 0.0) * lit
    hx, hy, hz = lx + ex, ly + ey, lz + ez
    scale = 1.0 / np.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
    shine = np.maximum((nx * hx + ny * hy + nz * hz) * scale, 0.0)
    shine = shine * shine
    shine = shine * shine
    shine = shine * shine
    shine = shine * shine * gloss * lit  # the 16th power
    facing = np.maximum(nx * ex + ny * ey + nz * ez, 0.0)
    sky = 0.72 + 0.38 * nz
    fill = 0.20 * facing
    return (
        r * (s[AMBIENT] * sky + fill + s[LIGHT_COLOR] * diffuse) + shine,
        g * (s[AMBIENT + 1] * sky + fill + s[LIGHT_COLOR + 1] * diffuse) + shine,
        b * (s[AMBIENT + 2] * sky + fill + s[LIGHT_COLOR + 2] * diffuse) + shine,
    )


@both_ways
def surroundings(
    s: Array, noise: Array, lamp: Array, shadow_map: Array, ox: float, oy: float, oz: float, dx: Any, dy: Any, dz: Any
) -> Any:
    """Light that arrives from direction d at the eye o where no mesh is: floor, walls, sky. The floor lies at z = 0."""
    to_floor = select(dz < -1e-6, -oz / np.minimum(dz, -1e-6), FAR_M * 10.0)
    wx, wy = s[WALL_NORMAL], s[WALL_NORMAL + 1]
    ahead = dx * wx + dy * wy  # the wall stands across (wx, wy), the side wall across its right hand (wy, -wx)
    aside = dx * wy - dy * wx
    to_wall = select(ahead > 1e-6, (s[WALL_DISTANCE] - ox * wx - oy * wy) / np.maximum(ahead, 1e-6), FAR_M * 10.0)
    to_side = FAR_M * 10.0 + 0.0 * dx
    if s[PLACE] == ROOM and s[SIDE_DISTANCE] > 0.0:
        from_side = s[SIDE_DISTANCE] - (ox * wy - oy * wx)
        to_side = select(aside > 1e-6, from_side / np.maximum(aside, 1e-6), FAR_M * 10.0)
    far = np.minimum(np.minimum(to_wall, to_side), FAR_M)
    on_floor = to_floor < far
    if s[PLACE] == OUTDOOR:
        on_floor = to_floor < FAR_M
    distance = select(on_floor, to_floor, far)
    px, py, pz = ox + dx * distance, oy + dy * distance, oz + dz * distance
    u, v = px * wy - py * wx + s[SHIFT], px * wx + py * wy + s[SHIFT + 1]
    lit = _lit(lamp, shadow_map, px, py, pz, 0.03)
    scale = 1.0 / np.sqrt(dx * dx + dy * dy + dz * dz)
    ex, ey, ez = -dx * scale, -dy * scale, -dz * scale

    r, g, b = s[WALL] + 0.0 * dx, s[WALL + 1] + 0.0 * dx, s[WALL + 2] + 0.0 * dx
    if s[PLACE] == STUDIO:
        glow = 0.80 + 0.30 * np.minimum(np.maximum(0.35 - ez, 0.0), 1.0)
        r, g, b = r * glow, g * glow, b * glow
    elif anywhere(negate(on_floor)):
        if s[PLACE] == ROOM:
            r, g, b = _wall(s, noise, to_side < to_wall, u, v, pz, ex, ey, ez, lit)
        else:
            r, g, b = _sky(s, noise, to_wall < FAR_M, u, pz, -ez)
    if anywhere(on_floor):
        fr, fg, fb = _floor(s, noise, u, v, distance, ex, ey, ez, lit)
        if s[PLACE] == OUTDOOR:
            haze = np.minimum(np.maximum((distance - 7.0) / 45.0, 0.0), 0.8)
            fr = fr + (s[WALL_ACCENT] - fr) * haze
            fg = fg + (s[WALL_ACCENT + 1] - fg) * haze
            fb = fb + (s[WALL_ACCENT + 2] - fb) * haze
        elif s[PLACE] == STUDIO:
            bend = np.minimum(np.maximum((distance - 2.0) / 6.0, 0.0), 1.0)  # the floor rises into the backdrop
            fr, fg, fb = fr + (r - fr) * bend, fg + (g - fg) * bend, fb + (b - fb) * bend
        r, g, b = _mix(on_floor, fr, fg, fb, r, g, b)
    return r, g, b


@both_ways
def _floor(s: Array, noise: Array, u: Any, v: Any, distance: Any, ex: Any, ey: Any, ez: Any, lit: Any) -> Any:
    accent = 0.0 * u
    if s[FLOOR_PATTERN] == FLOOR_CHECK:
        accent = select(_odd(u / s[TILE]) != _odd(v / s[TILE]), 1.0, 0.0)
    elif s[FLOOR_PATTERN] == FLOOR_PLANKS:
        plank = np.floor(u / (s[TILE] * 0.3))
        accent = noise[cell(plank * 37.0), cell(plank * 0.0 + 11.0)]
    elif s[FLOOR_PATTERN] == FLOOR_NOISE:
        accent = noise[cell(u * 90.0), cell(v * 90.0)]
    accent = accent / (1.0 + 0.06 * distance)
    grain = 0.92 + 0.16 * noise[cell(u * 14.0 + 77.0), cell(v * 14.0)]
    r = (s[FLOOR] + (s[FLOOR_ACCENT] - s[FLOOR]) * accent) * grain
    g = (s[FLOOR + 1] + (s[FLOOR_ACCENT + 1] - s[FLOOR + 1]) * accent) * grain
    b = (s[FLOOR + 2] + (s[FLOOR_ACCENT + 2] - s[FLOOR + 2]) * accent) * grain
    return _shaded(s, r, g, b, 0.0, 0.0, 0.0, 1.0, ex, ey, ez, lit)


@both_ways
def _wall(s: Array, noise: Array, on_side: Any, u: Any, v: Any, z: Any, ex: Any, ey: Any, ez: Any, lit: Any) -> Any:
    """The wall behind with its panels, and the side wall."""
    wx, wy = s[WALL_NORMAL], s[WALL_NORMAL + 1]
    r, g, b = s[WALL] + 0.0 * u, s[WALL + 1] + 0.0 * u, s[WALL + 2] + 0.0 * u
    for k in range(NUM_PANELS):
        q = PANELS + k * PANEL_SIZE
        panel = negate(on_side) & (u > s[q]) & (u < s[q + 1]) & (z > s[q + 2]) & (z < s[q + 3])
        r, g, b = _mix(panel, s[q + 4], s[q + 5], s[q + 6], r, g, b)
    r, g, b = _mix(z < 0.10, s[WALL_ACCENT], s[WALL_ACCENT + 1], s[WALL_ACCENT + 2], r, g, b)
    plaster = 0.90 + 0.13 * noise[cell((u + v) * 17.0), cell(z * 17.0 + 40.0)]
    side = select(on_side, 0.86, 1.0) * plaster
    nx, ny = select(on_side, -wy, -wx), select(on_side, wx, -wy)
    return _shaded(s, r * side, g * side, b * side, 0.0, nx, ny, 0.0, ex, ey, ez, 0.35 + 0.65 * lit)


@both_ways
def _sky(s: Array, noise: Array, is_backdrop: Any, u: Any, z: Any, up: Any) -> Any:
    """Clouds above a row of trees or houses far behind. `up` is the height of the direction, -1..1."""
    high = np.minimum(np.maximum(up * 2.2, 0.0), 1.0)
    cloud = np.maximum(noise[cell(u * 3.0 + 30.0), cell(z * 7.0)] - 0.45, 0.0) * 1.2 * select(up > 0.0, 1.0, 0.0)
    r = s[WALL_ACCENT] + (s[WALL] - s[WALL_ACCENT]) * high
    g = s[WALL_ACCENT + 1] + (s[WALL + 1] - s[WALL_ACCENT + 1]) * high
    b = s[WALL_ACCENT + 2] + (s[WALL + 2] - s[WALL_ACCENT + 2]) * high
    r, g, b = r + (0.96 - r) * cloud, g + (0.96 - g) * cloud, b + (0.96 - b) * cloud
    top = s[SKYLINE] * (0.45 + noise[cell(u * 2.2 + 9.0), cell(u * 0.0 + 200.0)])
    leaf = 0.55 + 0.5 * noise[cell(u * 9.0), cell(z * 9.0)]
    trees = (z < top) & is_backdrop
    return _mix(trees, s[PANELS + 4] * leaf, s[PANELS + 5] * leaf, s[PANELS + 6] * leaf, r, g, b)


@both_ways
def film(s: Array, value: Any) -> Any:
    """What the camera records, 0..1: linear for dark and middle tones, bending to 1: x / (1 + x^4)^(1/4)."""
    x = np.maximum(value * s[EXPOSURE], 0.0)
    square = x * x
    return x / np.sqrt(np.sqrt(1.0 + square * square))


# ---- the picture ---------------------------------------------------------------------------------------------------


@both_ways
def point(
    m: Array,
    s: Array,
    lamp: Array,
    shadow_map: Array,
    rest: Any,
    position: Any,
    normal: Any,
    ox: float,
    oy: float,
    oz: float,
) -> Any:
    """Light from a point of a mesh: rest position, world position and normal (three numbers each), eye o."""
    r, g, b, gloss = _surface(m, rest[0], rest[1], rest[2])
    px, py, pz = position
    nx, ny, nz = normal
    scale = 1.0 / np.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
    nx, ny, nz = nx * scale, ny * scale, nz * scale
    ex, ey, ez = ox - px, oy - py, oz - pz
    scale = 1.0 / np.sqrt(ex * ex + ey * ey + ez * ez + 1e-12)
    ex, ey, ez = ex * scale, ey * scale, ez * scale
    lit = _lit(lamp, shadow_map, px + 0.015 * nx, py + 0.015 * ny, pz + 0.015 * nz, 0.012)
    return _shaded(s, r, g, b, gloss, nx, ny, nz, ex, ey, ez, lit)


@both_ways
def at(table: Array, k0: Any, k1: Any, k2: Any, w0: Any, w1: Any, w2: Any) -> Any:
    """Three numbers of a table of vertices, inside the face (k0, k1, k2)."""
    return (
        w0 * table[k0, 0] + w1 * table[k1, 0] + w2 * table[k2, 0],
        w0 * table[k0, 1] + w1 * table[k1, 1] + w2 * table[k2, 1],
        w0 * table[k0, 2] + w1 * table[k1, 2] + w2 * table[k2, 2],
    )


def shade_loop(
    face_id: NDArray[np.int32],
    bary: Array,
    samples: int,
    faces: NDArray[np.int32],
    vertices: Array,
    normals: Array,
    rest: Array,
    face_material: NDArray[np.int32],
    materials: Array,
    s: Array,
    noise: Array,
    lamp: Array,
    shadow_map: Array,
    eye: Array,
    rays: Array,
    image: Array,
) -> None:
    height, width = image.shape[0], image.shape[1]
    ox, oy, oz = eye[0], eye[1], eye[2]
    for y in range(height):
        for x in range(width):
            red, green, blue = 0.0, 0.0, 0.0
            known = False
            br, bg, bb = 0.0, 0.0, 0.0
            for i in range(samples):
                for j in range(samples):
                    v, u = y * samples + i, x * samples + j
                    f = face_id[v, u]
                    if f < 0:
                        if not known:  # the surroundings are smooth: once per pixel is enough
                            dx, dy, dz = rays[y, x, 0], rays[y, x, 1], rays[y, x, 2]
                            br, bg, bb = surroundings(s, noise, lamp, shadow_map, ox, oy, oz, dx, dy, dz)
                            known = True
                        r, g, b = br, bg, bb
                    else:
                        k0, k1, k2 = faces[f, 0], faces[f, 1], faces[f, 2]
                        w0, w1, w2 = bary[v, u, 0], bary[v, u, 1], bary[v, u, 2]
                        r, g, b = point(
                            materials[face_material[f]],
                            s,
                            lamp,
                            shadow_map,
                            at(rest, k0, k1, k2, w0, w1, w2),
                            at(vertices, k0, k1, k2, w0, w1, w2),
                            at(normals, k0, k1, k2, w0, w1, w2),
                            ox,
                            oy,
                            oz,
                        )
                    red += r
                    green += g
                    blue += b
            share = 1.0 / (samples * samples)
            image[y, x, 0] = red * share
            image[y, x, 1] = green * share
            image[y, x, 2] = blue * share
    values = image.reshape(-1)
    for k in range(values.shape[0]):  # a loop of its own: roots and divisions of several values at once
        values[k] = film(s, values[k])
