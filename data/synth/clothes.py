"""What people wear, in words a sentence can use, and as numbers the shading understands.

An outfit is drawn from a seed: skin, hair (style and colour), a hat or none, a top or a dress, trousers, shorts or a
skirt, shoes. Colours have names; the shade varies a little around each name's own.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from data.synth import shading

Array = NDArray[np.float64]
Color: TypeAlias = tuple[float, float, float]

CLOTH_COLORS: Mapping[str, Color] = {
    "red": (0.74, 0.09, 0.10),
    "orange": (0.93, 0.46, 0.08),
    "yellow": (0.95, 0.82, 0.16),
    "green": (0.12, 0.48, 0.20),
    "light green": (0.58, 0.80, 0.42),
    "blue": (0.12, 0.28, 0.72),
    "light blue": (0.50, 0.74, 0.92),
    "dark blue": (0.07, 0.10, 0.28),
    "purple": (0.43, 0.17, 0.56),
    "pink": (0.95, 0.55, 0.70),
    "brown": (0.36, 0.22, 0.12),
    "beige": (0.82, 0.72, 0.55),
    "white": (0.94, 0.94, 0.93),
    "grey": (0.47, 0.48, 0.49),
    "black": (0.055, 0.055, 0.065),
}
JEANS_COLORS: Mapping[str, Color] = {
    "blue": (0.20, 0.32, 0.52), "light blue": (0.48, 0.60, 0.74), "dark blue": (0.09, 0.13, 0.24),
    "black": (0.07, 0.07, 0.08), "grey": (0.40, 0.41, 0.43),
}  # fmt: skip
HAIR_COLORS: Mapping[str, Color] = {
    "black": (0.05, 0.04, 0.04), "dark brown": (0.15, 0.09, 0.05), "brown": (0.30, 0.18, 0.10),
    "blond": (0.74, 0.57, 0.30), "red": (0.52, 0.19, 0.07), "grey": (0.50, 0.49, 0.48), "white": (0.86, 0.85, 0.83),
}  # fmt: skip
SKIN_COLORS: Mapping[str, Color] = {
    "very light": (0.94, 0.77, 0.67), "light": (0.90, 0.71, 0.59), "tan": (0.79, 0.58, 0.45),
    "brown": (0.60, 0.41, 0.29), "dark brown": (0.43, 0.28, 0.20), "very dark": (0.29, 0.19, 0.14),
}  # fmt: skip

HairStyle: TypeAlias = Literal["bald", "short", "long", "bun", "ponytail"]
Pattern: TypeAlias = Literal["plain", "striped", "checked", "dotted", "two-tone", "printed", "open"]

_PATTERNS: dict[Pattern, int] = {
    "plain": shading.PLAIN_PATTERN,
    "striped": shading.STRIPED,
    "checked": shading.CHECKED,
    "dotted": shading.DOTTED,
    "two-tone": shading.TWO_TONE,
    "printed": shading.PRINTED,
    "open": shading.OPEN,
}
_TOPS: Mapping[str, tuple[float, float]] = {
    # name: where the sleeve ends (metres from the middle in the T-pose), chance
    "tank top": (0.155, 0.12),
    "t-shirt": (0.315, 0.32),
    "shirt": (0.655, 0.12),
    "sweater": (0.665, 0.14),
    "jacket": (0.665, 0.20),
    "dress": (0.29, 0.10),
}
_BOTTOMS: Mapping[str, tuple[float, float]] = {
    # name: height of the hem at rest, chance
    "trousers": (-1.075, 0.34),
    "jeans": (-1.07, 0.26),
    "leggings": (-1.02, 0.08),
    "shorts": (-0.60, 0.20),
    "skirt": (-0.62, 0.12),
}
_SHOES: Mapping[str, tuple[float, float]] = {
    # name: height of the upper edge at rest (below everything: none), chance
    "shoes": (-1.085, 0.62),
    "sneakers": (-1.085, 0.12),
    "boots": (-0.93, 0.14),
    "bare feet": (-9.0, 0.12),
}


@dataclass(frozen=True)
class Garment:
    kind: str
    color: str
    pattern: Pattern = "plain"
    accent: str | None = None
    """Name of the pattern's second colour."""

    @property
    def words(self) -> str:
        """black jeans · red and white striped t-shirt · open blue jacket over a white top."""
        if self.accent is None:
            return f"{self.color} {self.kind}"
        if self.pattern == "open":
            return f"open {self.color} {self.kind} over {_with_article(self.accent)} top"
        if self.pattern == "printed":
            return f"{self.color} {self.kind} with {_with_article(self.accent)} print"
        if self.pattern == "two-tone":
            return f"{self.color} and {self.accent} {self.kind}"
        return f"{self.color} and {self.accent} {self.pattern} {self.kind}"


@dataclass(frozen=True, eq=False)
class Outfit:
    skin: str
    hair: str
    """Colour of the hair; of the stubble if bald."""
    hair_style: HairStyle
    hat: Garment | None
    top: Garment
    bottom: Garment | None
    """None under a dress."""
    shoes: Garment | None
    """None: bare feet."""
    beard: bool
    material: Array
    """(shading.MATERIAL_SIZE,) of the body."""
    loose_top_m: float
    """How far the top stands off the body."""
    loose_bottom_m: float
    skirt_hem: float | None
    """Height at rest where a skirt or dress ends; None without one."""

    @property
    def attributes(self) -> dict[str, Any]:
        """What annotation files keep: every word, and phrases to build sentences from."""
        garments = {name: getattr(self, name) for name in ("hat", "top", "bottom", "shoes")}
        return {
            "skin": self.skin,
            "hair": self.hair,
            "hair_style": self.hair_style,
            "beard": self.beard,
            **{name: None if garment is None else asdict(garment) for name, garment in garments.items()},
            "phrases": self.phrases,
        }

    @property
    def phrases(self) -> list[str]:
        """Things to say after "the person with" or "in": "a red t-shirt", "black jeans", "long blond hair"."""
        found = [_with_article(self.top.words)]
        if self.bottom is not None:
            found.append(_with_article(self.bottom.words))
        found.append(self.shoes.words if self.shoes is not None else "bare feet")
        if self.hat is not None:
            found.append(_with_article(self.hat.words))
        if self.hair_style == "bald":
            found.append("a bald head")
        elif self.hair_style in ("bun", "ponytail"):
            found.append(f"{self.hair} hair in a {self.hair_style}")
        else:
            found.append(f"{self.hair_style} {self.hair} hair")
        if self.beard:
            found.append(f"a {self.hair} beard")
        return found

    def color(self, part: int) -> Color:
        """The material's colour of a part, e.g. `shading.HAIR`."""
        return tuple(self.material[part : part + 3].tolist())

    @cached_property
    def has_skirt(self) -> bool:
        return self.skirt_hem is not None

    def thickness_m(self, rest: Array) -> Array:
        """(V,) how far cloth and hair stand off the skin, per vertex at rest position (V, 3)."""
        x, y, z = rest.T
        ax, m = np.abs(x), self.material
        head = (y > 0.30) & (ax < 0.115)
        result = np.zeros(len(rest))
        top = ~head & (y > m[shading.WAIST] - 0.02) & (ax < m[shading.SLEEVE]) & (y < 0.27)
        bottom = ~head & (y <= m[shading.WAIST] - 0.02) & (y > m[shading.HEM]) & (ax < 0.35)
        result[bottom] = self.loose_bottom_m
        result[top] = self.loose_top_m
        result[~head & (y < m[shading.SHOE_TOP])] = 0.007
        if self.hair_style != "bald" or self.hat is not None:
            line = (y - m[shading.HAIRLINE]) * 0.80 - (z - 0.055) * 0.62
            ear = (ax > 0.070) & (np.abs(y - 0.425) < 0.040) & (np.abs(z - 0.006) < 0.034)
            hair = head & (line > 0) & (y > 0.365) & ~((z > 0.02) & (y < 0.43)) & ~ear
            result[hair] = np.clip(line[hair] / 0.03, 0.15, 1) * 0.015  # thin at the hairline, full above
        return result


def _with_article(words: str) -> str:
    if words.split()[-1] in ("trousers", "jeans", "leggings", "shorts"):
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def draw_outfit(rng: np.random.Generator) -> Outfit:
    """A random outfit. Top and bottom never share a colour, so that either tells a person apart."""
    skin, skin_rgb = _pick(rng, SKIN_COLORS, spread=0.03)
    hair, hair_rgb = _pick(rng, HAIR_COLORS, spread=0.02, weights=(5, 5, 4, 3, 1.5, 1.5, 1))
    style: HairStyle = rng.choice(["bald", "short", "long", "bun", "ponytail"], p=[0.07, 0.45, 0.26, 0.10, 0.12])
    beard = bool(style in ("bald", "short") and rng.random() < 0.22)

    top_kind = _choose(rng, _TOPS)
    top_color, top_rgb = _pick(rng, CLOTH_COLORS)
    pattern: Pattern = "plain"
    accent, accent_rgb = None, top_rgb
    if top_kind == "jacket" or rng.random() < 0.75:
        # What tells front from back at a glance is as common as on people: jackets stand open, shirts have prints.
        names: list[Pattern] = ["striped", "checked", "dotted", "two-tone", "printed"]
        pattern = "open" if top_kind == "jacket" else rng.choice(names, p=[0.14, 0.12, 0.12, 0.12, 0.5])
        accent, accent_rgb = _pick(rng, _contrasting(top_color))
    top = Garment(top_kind, top_color, pattern, accent)

    bottom, hem, skirt_hem = None, -0.42, None
    bottom_rgb = top_rgb
    if top_kind == "dress":
        skirt_hem = rng.uniform(-0.80, -0.56)
    else:
        kind = _choose(rng, _BOTTOMS)
        palette = JEANS_COLORS if kind == "jeans" else CLOTH_COLORS
        color, bottom_rgb = _pick(rng, {name: rgb for name, rgb in palette.items() if name != top_color})
        bottom = Garment(kind, color)
        hem = _BOTTOMS[kind][0] + rng.uniform(-0.01, 0.02)
        if kind == "skirt":
            skirt_hem, hem = rng.uniform(-0.82, -0.52), -0.42
        elif kind == "shorts":
            hem += rng.uniform(-0.08, 0.10)

    shoes_kind = _choose(rng, _SHOES)
    shoe_color, shoe_rgb = _pick(
        rng, CLOTH_COLORS, weights=[3 if name in ("black", "white", "brown") else 1 for name in CLOTH_COLORS]
    )
    shoes = None if shoes_kind == "bare feet" else Garment(shoes_kind, shoe_color)
    hat = None
    hat_rgb = hair_rgb
    if rng.random() < 0.14 and style != "bun":
        hat_color, hat_rgb = _pick(rng, CLOTH_COLORS)
        hat = Garment("cap", hat_color)

    m = np.zeros(shading.MATERIAL_SIZE)
    m[shading.KIND] = shading.BODY
    for place, rgb in (
        (shading.SKIN, skin_rgb),
        (shading.HAIR, hair_rgb),
        (shading.TOP, top_rgb),
        (shading.TOP_ACCENT, accent_rgb),
        (shading.BOTTOM, bottom_rgb),
        (shading.SHOE, shoe_rgb),
        (shading.SOCK, (0.90, 0.90, 0.90) if rng.random() < 0.6 else (0.12, 0.12, 0.13)),
        (shading.HAT, hat_rgb),
    ):
        m[place : place + 3] = rgb
    m[shading.SLEEVE] = _TOPS[top_kind][0] + rng.uniform(-0.012, 0.012)
    m[shading.WAIST] = rng.uniform(-0.26, -0.17) if top_kind != "dress" else -0.30
    m[shading.HEM] = hem
    m[shading.NECK] = rng.uniform(0.085, 0.110)
    m[shading.V_NECK] = float(top_kind != "sweater" and rng.random() < 0.35)
    m[shading.SHOE_TOP] = _SHOES[shoes_kind][0]
    m[shading.SOCK_TOP] = rng.choice([-9.0, -1.02, -0.90]) if shoes is not None and hem > -1.0 else -9.0
    m[shading.HAIRLINE] = rng.uniform(0.445, 0.462) if style != "bald" else 9.0
    m[shading.IS_LONG] = float(style == "long")
    m[shading.PATTERN] = _PATTERNS[pattern]
    m[shading.PATTERN_SIZE] = rng.uniform(11, 26)
    m[shading.BELT] = float(
        bottom is not None and bottom.kind in ("trousers", "jeans", "shorts") and rng.random() < 0.4
    )
    m[shading.BEARD] = float(beard)
    m[shading.BUTTONS] = float(top_kind == "shirt")
    m[shading.HAS_HAT] = float(hat is not None)
    loose = {"leggings": 0.002, "jeans": 0.007, "trousers": 0.012, "shorts": 0.016}
    return Outfit(
        skin=skin,
        hair=hair,
        hair_style=style,
        hat=hat,
        top=top,
        bottom=bottom,
        shoes=shoes,
        beard=beard,
        material=m,
        loose_top_m=float({"tank top": 0.004, "sweater": 0.013}.get(top_kind, 0.008) + rng.uniform(0, 0.004)),
        loose_bottom_m=float(loose.get(bottom.kind if bottom else "leggings", 0.003) * rng.uniform(0.8, 1.2)),
        skirt_hem=None if skirt_hem is None else float(skirt_hem),
    )


def _choose(rng: np.random.Generator, table: Mapping[str, tuple[float, float]]) -> str:
    chances = np.array([chance for _, chance in table.values()])
    return str(rng.choice(list(table), p=chances / chances.sum()))


def _pick(
    rng: np.random.Generator, palette: Mapping[str, Color], *, spread: float = 0.035, weights: Any = None
) -> tuple[str, Color]:
    """A colour's name and a shade near it: brighter or darker as a whole, and each channel a little."""
    chances = np.ones(len(palette)) if weights is None else np.asarray(weights, np.float64)
    name = str(rng.choice(list(palette), p=chances / chances.sum()))
    base = np.array(palette[name])
    shade = base * (1 + rng.uniform(-0.08, 0.08)) + rng.uniform(-spread, spread, 3) * (0.3 + 0.7 * base)
    return name, tuple(np.clip(shade, 0.02, 0.97).tolist())


def _contrasting(color: str) -> dict[str, Color]:
    """Colours of a clearly different brightness or hue than the named one."""
    own = np.array(CLOTH_COLORS[color])
    return {name: rgb for name, rgb in CLOTH_COLORS.items() if np.linalg.norm(np.array(rgb) - own) > 0.55} or {
        "white": CLOTH_COLORS["white"]
    }
