"""What `chat` and `web` ask alike: which model, on what, and how freely it speaks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from llmpose.talk.chat import LlmPose

Model: TypeAlias = Annotated[
    str, typer.Option("--model", "-m", help="Folder of a model or an adapter, or a name on the hub.")
]
Base: TypeAlias = Annotated[str | None, typer.Option(help="Where an adapter's base model lies now.")]
BodyModel: TypeAlias = Annotated[Path | None, typer.Option(help="SMPL files for meshes and pictures.")]
Device: TypeAlias = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...")]
Temperature: TypeAlias = Annotated[float, typer.Option(help="0: the likeliest word; higher: freer.")]
MaxNewTokens: TypeAlias = Annotated[int, typer.Option(help="Words of one answer at most.")]

MAX_NEW_TOKENS = 256


def load_to_talk(
    model: str,
    *,
    base: str | None,
    body_model: Path | None,
    device: str | None,
    temperature: float,
    max_new_tokens: int,
    seed: int | None = None,
) -> "LlmPose":
    """The model that the options mean, ready to be asked."""
    from llmpose.talk.chat import LlmPose
    from llmpose.talk.decoding import Decoding

    settings = Decoding(temperature=temperature, max_new_tokens=max_new_tokens, seed=seed, points="densest")
    return LlmPose.from_pretrained(model, base=base, device=device, body_model=body_model, settings=settings)
