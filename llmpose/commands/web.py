"""`llmpose web`: the chat in a browser."""

from typing import Annotated

import typer

from llmpose.commands.options import (
    MAX_NEW_TOKENS,
    Base,
    BodyModel,
    Device,
    MaxNewTokens,
    Model,
    Temperature,
    load_to_talk,
)

HELP = """Talk to a model in a browser: upload pictures and poses, look at the answers, download poses and meshes.

Only this computer can open the page, unless --host says otherwise. Needs the extra: pip install 'llmpose[web]'

Examples:

  llmpose web --model runs/demo/4_instruct/model

  llmpose web --model DIR --port 8000 --body-model ~/smpl
"""


def register(app: typer.Typer) -> None:
    app.command("web", help=HELP)(web)


def web(
    model: Model,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets others in, without a password.")] = (
        "127.0.0.1"
    ),
    port: Annotated[
        int | None, typer.Option(help="Port; without it the first free one from 7860 on.", min=1, max=65535)
    ] = None,
    base: Base = None,
    body_model: BodyModel = None,
    device: Device = None,
    temperature: Temperature = 0.0,
    max_new_tokens: MaxNewTokens = MAX_NEW_TOKENS,
) -> None:
    from llmpose.talk.web import needs_gradio, serve

    needs_gradio()
    loaded = load_to_talk(
        model,
        base=base,
        body_model=body_model,
        device=device,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
    )
    serve(loaded, title="llmpose", host=host, port=port)
