"""`llmpose web`: the chat in a browser."""

from pathlib import Path
from typing import Annotated

import typer

HELP = """Talk to a model in a browser: upload pictures and poses, look at the answers, download poses and meshes.

Only this computer can open the page, unless --host says otherwise. Needs the extra: pip install 'llmpose[web]'

Examples:

  llmpose web --model runs/demo/4_instruct/model

  llmpose web --model DIR --port 8000 --body-model ~/smpl
"""


def register(app: typer.Typer) -> None:
    app.command("web", help=HELP)(web)


def web(
    model: Annotated[str, typer.Option("--model", "-m", help="Folder of a model or an adapter, or a name on the hub.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets others in, without a password.")] = (
        "127.0.0.1"
    ),
    port: Annotated[
        int | None, typer.Option(help="Port; without it the first free one from 7860 on.", min=1, max=65535)
    ] = None,
    base: Annotated[str | None, typer.Option(help="Where an adapter's base model lies now.")] = None,
    body_model: Annotated[Path | None, typer.Option(help="SMPL files for meshes and pictures.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...")] = None,
    temperature: Annotated[float, typer.Option(help="0: the likeliest word; higher: freer.")] = 0.0,
    max_new_tokens: Annotated[int, typer.Option(help="Words of one answer at most.")] = 256,
) -> None:
    from llmpose.talk.web import needs_gradio, serve

    needs_gradio()
    from llmpose.talk.chat import LlmPose
    from llmpose.talk.decoding import Decoding

    settings = Decoding(temperature=temperature, max_new_tokens=max_new_tokens)
    loaded = LlmPose.from_pretrained(model, base=base, device=device, body_model=body_model, settings=settings)
    serve(loaded, title="llmpose", host=host, port=port)
