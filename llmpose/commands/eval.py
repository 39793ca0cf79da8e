"""`llmpose eval`: the papers' tables, from one command each."""

from pathlib import Path
from typing import Annotated, Literal

import typer

HELP = """Measure a model on one benchmark, or on all that its data allow.

A table is printed (this model, trivial baselines, published numbers, protocol) and written as json and markdown.
Answers are kept: the same command goes on after an interruption. On several processes: accelerate launch -m
llmpose.cli eval ...

Examples:

  llmpose eval list

  llmpose eval all --model runs/demo/4_instruct/model --data runs/demo/data --retrieval runs/demo/retrieval/model

  llmpose eval text_to_pose --model DIR --data DATA --limit 500

  llmpose eval zero-shot --model DIR --data DATA

  llmpose eval ablations --preset tiny --data runs/demo/data

  llmpose eval ablations --only keypoints --data runs/things     KptLLM++'s ablations, on the built-in things

  llmpose eval spread --runs runs/eval_0 --runs runs/eval_1      means and variances over seeds

  llmpose eval mp100 --runs runs/split1 --runs runs/split2       MP-100's splits in one table
"""


def register(app: typer.Typer) -> None:
    app.command("eval", help=HELP)(evaluate)


def evaluate(
    names: Annotated[
        list[str],
        typer.Argument(help="Benchmarks, or: all, list, zero-shot, ablations, spread, mp100.", show_default=False),
    ],
    model: Annotated[Path | None, typer.Option(help="Folder of a trained model.", show_default=False)] = None,
    data: Annotated[Path | None, typer.Option(help="Folder with the prepared sets.", show_default=False)] = None,
    out: Annotated[Path, typer.Option(help="Where tables, scores and answers go.")] = Path("runs/eval"),
    retrieval: Annotated[Path | None, typer.Option(help="Pose-text retrieval model.", show_default=False)] = None,
    pair_retrieval: Annotated[
        Path | None, typer.Option(help="Pose-pair-text retrieval model.", show_default=False)
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Pose tokenizer, if not the model's own.", show_default=False)
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="At most so many records of each test set.", show_default=False)
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Questions answered at a time.")] = 32,
    refine_poses: Annotated[
        bool, typer.Option("--refine-poses", help="Decode poses from the mean of their codes: smaller errors.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of draws: pools, baselines, wordings.")] = 0,
    held_out: Annotated[bool, typer.Option("--held-out", help="Word the questions as never in training.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=FOLDER of a set that lies elsewhere.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    preset: Annotated[Literal["tiny", "small"], typer.Option(help="Size of the ablations.")] = "tiny",
    seeds: Annotated[int, typer.Option(help="Runs per variant of the ablations.")] = 3,
    runs: Annotated[
        list[Path] | None, typer.Option(help="For spread, mp100: the --out of runs.", show_default=False)
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only these ablations, or kinds of them (keypoints).")] = None,
) -> None:
    from rich.console import Console

    from eval.run import Bar, list_benchmarks
    from eval.run import evaluate as run
    from llmpose.errors import BadUsage

    console = Console()
    if "list" not in names:
        from transformers.utils import logging

        logging.disable_progress_bar()  # a bar per file of weights would tear our own
    if "list" in names:
        list_benchmarks(console)
        return
    if "spread" in names:
        from eval.spread import spread_tables

        for table in spread_tables(runs or []):
            table.write(out / "tables")
            console.print(*table.to_rich(console.width))
        return
    if "mp100" in names:
        from eval.splits import split_tables

        for table in split_tables(runs or []):
            table.write(out / "tables")
            console.print(*table.to_rich(console.width))
        return
    if data is None:
        raise BadUsage("llmpose eval needs --data DIR, the folder with the prepared sets (see llmpose eval list)")
    from eval.benchmarks.base import Bench

    bench = Bench(
        data_dir=data,
        out_dir=out,
        model_dir=model,
        retrieval_dir=retrieval,
        pair_retrieval_dir=pair_retrieval,
        tokenizer_dir=tokenizer,
        limit=limit,
        batch_size=batch_size,
        refine_poses=refine_poses,
        seed=seed,
        templates="held_out" if held_out else "train",
        device=device,
        sets=dict(_named(word) for word in set_ or []),
    )
    if "ablations" in names:
        from eval.ablations import run_ablations

        run_ablations(bench, preset=preset, seeds=seeds, only=only or [], console=console)
        return
    with Bar(console) as bar:
        bench.progress = bar
        run(names, bench, console)


def _named(word: str) -> tuple[str, str]:
    from llmpose.errors import BadUsage

    name, found, folder = word.partition("=")
    if not found or not name or not folder:
        raise BadUsage(f"--set {word!r}: expected NAME=FOLDER, for instance --set posescript=records/posescript_h")
    return name, folder
