"""What is seen where no mesh is: a floor, walls with panels, a sky above trees or houses.

Surroundings are one row of numbers (`shading.PLACE`, `shading.WALL`, ...), drawn by `surroundings.py`.
"""

from typing import Any

import numpy as np

from data.synth.shading import (
    FAR_M,
    FLOOR,
    FLOOR_ACCENT,
    FLOOR_CHECK,
    FLOOR_NOISE,
    FLOOR_PATTERN,
    FLOOR_PLANKS,
    NUM_PANELS,
    OUTDOOR,
    PANEL_SIZE,
    PANELS,
    PLACE,
    ROOM,
    SHIFT,
    SIDE_DISTANCE,
    SKYLINE,
    STUDIO,
    TILE,
    WALL,
    WALL_ACCENT,
    WALL_DISTANCE,
    WALL_NORMAL,
    Array,
    lit_share,
    matt,
    mix,
    odd,
)
from data.synth.two_ways import anywhere, both_ways, cell, negate, select


@both_ways
def surroundings(
    s: Array, noise: Array, lamp: Array, shadow_map: Array, ox: float, oy: float, oz: float, dx: Any, dy: Any, dz: Any
) -> Any:
    """Light that arrives from direction d at the eye o where no mesh is: floor, walls, sky. The floor lies at z = 0."""
    on_floor, on_side, is_backdrop, distance = reached(s, ox, oy, oz, dx, dy, dz)
    lit = lit_share(lamp, shadow_map, ox + dx * distance, oy + dy * distance, oz + dz * distance, 0.03)
    return arriving(s, noise, on_floor, on_side, is_backdrop, distance, lit, ox, oy, oz, dx, dy, dz)


@both_ways
def reached(s: Array, ox: float, oy: float, oz: float, dx: Any, dy: Any, dz: Any) -> Any:
    """What lies in direction d: whether floor, side wall, or the backdrop of a street; how far, in lengths of d."""
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
    return on_floor, to_side < to_wall, to_wall < FAR_M, select(on_floor, to_floor, far)


@both_ways
def arriving(
    s: Array,
    noise: Array,
    on_floor: Any,
    on_side: Any,
    is_backdrop: Any,
    distance: Any,
    lit: Any,
    ox: float,
    oy: float,
    oz: float,
    dx: Any,
    dy: Any,
    dz: Any,
) -> Any:
    """Light from there, where `lit` of the lamp arrives."""
    wx, wy = s[WALL_NORMAL], s[WALL_NORMAL + 1]
    px, py, pz = ox + dx * distance, oy + dy * distance, oz + dz * distance
    u, v = px * wy - py * wx + s[SHIFT], px * wx + py * wy + s[SHIFT + 1]
    scale = 1.0 / np.sqrt(dx * dx + dy * dy + dz * dz)
    ex, ey, ez = -dx * scale, -dy * scale, -dz * scale

    r, g, b = s[WALL] + 0.0 * dx, s[WALL + 1] + 0.0 * dx, s[WALL + 2] + 0.0 * dx
    if s[PLACE] == STUDIO:
        glow = 0.80 + 0.30 * np.minimum(np.maximum(0.35 - ez, 0.0), 1.0)
        r, g, b = r * glow, g * glow, b * glow
    elif anywhere(negate(on_floor)):
        if s[PLACE] == ROOM:
            r, g, b = _wall(s, noise, on_side, u, v, pz, ex, ey, ez, lit)
        else:
            r, g, b = _sky(s, noise, is_backdrop, u, pz, -ez)
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
        r, g, b = mix(on_floor, fr, fg, fb, r, g, b)
    return r, g, b


@both_ways
def _floor(s: Array, noise: Array, u: Any, v: Any, distance: Any, ex: Any, ey: Any, ez: Any, lit: Any) -> Any:
    accent = 0.0 * u
    if s[FLOOR_PATTERN] == FLOOR_CHECK:
        accent = select(odd(u / s[TILE]) != odd(v / s[TILE]), 1.0, 0.0)
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
    return matt(s, r, g, b, 0.0, 0.0, 1.0, ex, ey, ez, lit)


@both_ways
def _wall(s: Array, noise: Array, on_side: Any, u: Any, v: Any, z: Any, ex: Any, ey: Any, ez: Any, lit: Any) -> Any:
    """The wall behind with its panels, and the side wall."""
    wx, wy = s[WALL_NORMAL], s[WALL_NORMAL + 1]
    r, g, b = s[WALL] + 0.0 * u, s[WALL + 1] + 0.0 * u, s[WALL + 2] + 0.0 * u
    for k in range(NUM_PANELS):
        q = PANELS + k * PANEL_SIZE
        panel = negate(on_side) & (u > s[q]) & (u < s[q + 1]) & (z > s[q + 2]) & (z < s[q + 3])
        r, g, b = mix(panel, s[q + 4], s[q + 5], s[q + 6], r, g, b)
    r, g, b = mix(z < 0.10, s[WALL_ACCENT], s[WALL_ACCENT + 1], s[WALL_ACCENT + 2], r, g, b)
    plaster = 0.90 + 0.13 * noise[cell((u + v) * 17.0), cell(z * 17.0 + 40.0)]
    side = select(on_side, 0.86, 1.0) * plaster
    nx, ny = select(on_side, -wy, -wx), select(on_side, wx, -wy)
    return matt(s, r * side, g * side, b * side, nx, ny, 0.0, ex, ey, ez, 0.35 + 0.65 * lit)


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
    return mix(trees, s[PANELS + 4] * leaf, s[PANELS + 5] * leaf, s[PANELS + 6] * leaf, r, g, b)
