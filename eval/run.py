"""Benchmarks by name, one after the other: `llmpose eval NAME|all|zero-shot`.

What cannot run for want of data or models is named with the way to get it; within a group the others go on.
"""

from collections.abc import Callable, Sequence
from difflib import get_close_matches

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from eval.benchmarks import BENCHMARKS, CROSS, SPLITS, cross_benchmark
from eval.benchmarks.base import Bench, Benchmark, MissingNeed, Result
from eval.zero_shot import ZERO_SHOT
from llmpose.errors import BadUsage

EVERYTHING = {**BENCHMARKS, **ZERO_SHOT, **SPLITS}
GROUPS = {"all": list(BENCHMARKS), "zero-shot": list(ZERO_SHOT)}


def names_of(wanted: Sequence[str]) -> list[str]:
    """Benchmarks by name or group (all, zero-shot), each once."""
    unknown = [name for name in wanted if name not in GROUPS and _made(name) is None]
    if unknown:
        near = get_close_matches(unknown[0], EVERYTHING, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join([*EVERYTHING, *GROUPS])}"
        raise BadUsage(f"no benchmark is called {unknown[0]!r}; {hint}")
    return list(dict.fromkeys(name for word in wanted for name in GROUPS.get(word, [word])))


def _made(name: str) -> "Callable[[], Benchmark] | None":
    return EVERYTHING.get(name) or cross_benchmark(name)


def evaluate(wanted: Sequence[str], bench: Bench, console: Console | None = None) -> list[Result]:
    """Run, print and write; the results of those that ran."""
    names = names_of(wanted)
    results: list[Result] = []
    missing: list[str] = []
    for name in names:
        make = _made(name)
        assert make is not None, name
        try:
            result = make().run(bench)
        except MissingNeed as error:
            if name in wanted:
                raise
            missing.append(str(error))
            continue
        if result is not None:
            results.append(result)
            if console is not None:
                console.print(*result.table.to_rich(console.width))
    if console is not None and bench.is_main:
        for line in missing:
            console.print(f"[dim]not run[/] {line}", highlight=False)
        if results:
            console.print(f"tables, scores and answers: {bench.out_dir}", highlight=False)
    if missing and not results and bench.is_main:
        raise MissingNeed(missing[0] if len(missing) == 1 else f"no benchmark could run; the first: {missing[0]}")
    return results


def list_benchmarks(console: Console) -> None:
    """Two tables: the benchmarks with the sets they read, and the sets with the way to get them."""
    from eval.benchmarks.keypoint_protocols import SETS
    from eval.benchmarks.taskset import HOW_TO_GET

    benchmarks = RichTable("name", "table", "reads", title="Benchmarks", title_justify="left")
    for name, make in EVERYTHING.items():
        benchmark = make()
        reads, _, _ = benchmark.needs.partition(":")
        benchmarks.add_row(name, benchmark.title, reads)
    benchmarks.add_row(f"{CROSS}NAME", "The same, another super-category left out", "DATA/mp100_cross_NAME")
    sets = RichTable("DATA/", "what it is and how to get it", title="Sets", title_justify="left")
    for name, how in {**HOW_TO_GET, **{name: f"{one.title}: {one.how}" for name, one in SETS.items()}}.items():
        sets.add_row(name, how)
    console.print(benchmarks, sets)


class Bar:
    """A progress bar per task, as a `Progress` callback of the bench."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=console, transient=True)
        self.tasks: dict[str, int] = {}

    def __enter__(self) -> "Bar":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self.tasks:
            self.tasks[what] = int(self.progress.add_task(what, total=total))
        self.progress.update(self.tasks[what], completed=done)  # type: ignore[arg-type]
