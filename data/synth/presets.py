"""How large a built-in world is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from llmpose.errors import BadUsage

Split: TypeAlias = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class WorldRecipe:
    """Sizes of a world. Numbers are aims: a person whom others hide is sent away, a motion ends where it ends."""

    persons: Mapping[Split, int] = field(default_factory=lambda: {"train": 7000, "val": 400, "test": 500})
    """People in pictures."""
    poses: Mapping[Split, int] = field(default_factory=lambda: {"train": 12000, "val": 1000, "test": 1500})
    """AMASS-like poses, counted as readers take them: the middle 60 % of each motion, every 10th frame."""
    extreme_poses: Mapping[Split, int] = field(default_factory=lambda: {"train": 600, "val": 100, "test": 0})
    """MOYO-like poses: 10 % cut off at both ends, every 5th frame."""
    image_px: int = 160
    """Height of every picture, and width of those with one person; groups are half as wide again."""
    single_share: float = 0.75
    """Share of the people who are alone in their picture."""

    def __post_init__(self) -> None:
        if not 32 <= self.image_px <= 2048:
            raise BadUsage(f"pictures of {self.image_px} px; choose a size from 32 to 2048")
        if not 0 <= self.single_share <= 1:
            raise BadUsage(f"single_share is a share from 0 to 1, got {self.single_share}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


PRESETS: Mapping[str, WorldRecipe] = {
    "micro": WorldRecipe(
        persons={"train": 40, "val": 8, "test": 12},
        poses={"train": 460, "val": 58, "test": 87},
        extreme_poses={"train": 24, "val": 24, "test": 0},
        image_px=112,
    ),
    "tiny": WorldRecipe(),
    "small": WorldRecipe(
        persons={"train": 40_000, "val": 1500, "test": 3000},
        poses={"train": 60_000, "val": 3000, "test": 5000},
        extreme_poses={"train": 5000, "val": 800, "test": 0},
        image_px=224,
    ),
    "large": WorldRecipe(
        persons={"train": 250_000, "val": 5000, "test": 10_000},
        poses={"train": 400_000, "val": 10_000, "test": 20_000},
        extreme_poses={"train": 30_000, "val": 3000, "test": 0},
        image_px=256,
    ),
}


def world_recipe(preset: str, *, image_px: int | None = None) -> WorldRecipe:
    """A preset by name, with another size of pictures if asked."""
    if preset not in PRESETS:
        raise BadUsage(f"unknown preset {preset!r}; choose one of {', '.join(PRESETS)}")
    recipe = PRESETS[preset]
    if image_px is None:
        return recipe
    return WorldRecipe(recipe.persons, recipe.poses, recipe.extreme_poses, image_px, recipe.single_share)
