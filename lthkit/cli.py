"""The command `lthkit`."""

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from lthkit import files

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def lthkit() -> None:
    """Lottery tickets, tested: the command line of the course."""


@app.command()
def grade(
    notebook: Annotated[Path, typer.Argument(help="A learner's notebook. Its code is run.", show_default=False)],
    json_to: Annotated[
        str, typer.Option("--json", metavar="FILE", help="Write the verdicts there as JSON; - prints them.")
    ] = "",
    time_limit: Annotated[float, typer.Option(min=1, help="Seconds for the whole notebook.")] = 120,
) -> None:
    """Run a notebook on a copy, and print the verdict of each of its tasks.

    The exit status is 0 if it could be run, whatever the verdicts, and 2 if not.
    """
    from lthkit.exercises.grade import grade as run

    if json_to not in ("", "-") and not Path(json_to).absolute().parent.is_dir():
        _stop(f"cannot write {json_to}: there is no such folder")
    try:
        found = run(notebook, time_limit)
    except ModuleNotFoundError as error:
        _stop(f'grading needs {error.name}: pip install "lthkit[grade]"')
    except ValueError as error:
        _stop(str(error))
    typer.echo(found.summary(time_limit), err=json_to == "-")
    if json_to:
        text = json.dumps(found.to_dict(), indent=2, ensure_ascii=False)
        typer.echo(text) if json_to == "-" else files.write_text(json_to, text + "\n")


@app.command()
def replicate(
    lab: Annotated[
        list[str] | None, typer.Option(help="The number of a lab, as in 06; may be repeated. All by default.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option(help="A setting's name; may be repeated. All by default.")
    ] = None,
    scheduler: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Of a Dask scheduler, as in tcp://10.0.0.1:8786.")
    ] = "",
    workers: Annotated[int, typer.Option(min=0, help="How many processes here; 0: one a core.")] = 0,
    limit: Annotated[float, typer.Option(min=1, help="Minutes of a lab in a setting.")] = 60,
    root: Annotated[Path, typer.Option(help="Where downloaded data sets lie.")] = Path("data"),
    out: Annotated[Path, typer.Option(help="The folder of the records.")] = Path("book/results/replications"),
    list_them: Annotated[bool, typer.Option("--list", help="List what is done and what is to do.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Print what was found, to paste into an issue.")] = False,
    canary: Annotated[bool, typer.Option("--canary", help="Run live looks again: which labs moved?")] = False,
    choose_rates: Annotated[bool, typer.Option("--choose-rates", help="Choose the learning rates for SGD.")] = False,
) -> None:
    """Run labs of the course again: on fresh seeds, other splits, SGD, longer, and on other data.

    Call it in the folder that holds the course. Records that are there are kept, so that a stopped call goes on.
    The exit status is 1 if a task failed, and 2 if nothing could be run.
    """
    from lthkit import replications
    from lthkit.replications import show

    here, lab, setting = Path("notebooks"), lab or [], setting or []
    try:
        if choose_rates:
            found = replications.choose_rates(out, progress=True)
            typer.echo(", ".join(f"{name} {found[name]['chosen']:g}" for name in ("lr", "logit_lr")))
            return
        if list_them or report:
            chosen = replications.tasks(lab, setting, out, here)
            typer.echo(show.listed(chosen) if list_them else show.reported(chosen))
            return
        if canary:
            failed = replications.canary(lab, out, here, workers or None, root, progress=True)
        else:
            failed = replications.replicate(
                lab, setting, out, here, scheduler or None, workers or None, root, limit, progress=True
            )
    except ModuleNotFoundError as error:
        extra = "dask" if scheduler else "replicate"
        _stop(f'replicating needs {error.name}: pip install "lthkit[{extra}]"')
    except (ValueError, OSError, ImportError) as error:
        _stop(_line(error))
    for line in failed:
        typer.echo(line, err=True)
    if failed:
        raise typer.Exit(1)


OUT, KEPT = Path("book/results/full_scale"), Path("checkpoints")
Out = Annotated[Path, typer.Option(help="The folder of the records.")]
Kept = Annotated[Path, typer.Option(help="The folder of what is unfinished.")]
NAME = "An experiment, as in frankle_carbin, or one of its cells, as in frankle_carbin.tickets."


@app.command()
def experiments(out: Out = OUT, checkpoints: Kept = KEPT) -> None:
    """List the experiments at full scale: their cells, how each stands, and the minutes that it takes.

    Example: lthkit experiments --out mine
    """
    from lthkit.experiments import show, tasks

    with _one_line():
        typer.echo(show.listed(tasks(None, None, out, checkpoints)))


@app.command()
def run(
    name: Annotated[str, typer.Argument(help=NAME, show_default=False)],
    seeds: Annotated[
        str, typer.Option(metavar="SEEDS", help="As in 0-3 or 0,2,5, in place of the cells' own.", show_default=False)
    ] = "",
    root: Annotated[Path, typer.Option(help="Where downloaded data sets lie.")] = Path("data"),
    out: Out = OUT,
    file: Annotated[
        Path | None, typer.Option("--data", metavar="FILE.npz", help="In place of the cells' own data.")
    ] = None,
    checkpoints: Kept = KEPT,
    workers: Annotated[int, typer.Option(min=0, help="How many processes here; 0: one a core.")] = 0,
    limit: Annotated[float, typer.Option(help="Minutes of a task in this call.")] = 60,
    scheduler: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Of a Dask scheduler, as in tcp://10.0.0.1:8786.")
    ] = "",
) -> None:
    """Run an experiment at full scale, and write a record of each of its tasks.

    What was stopped or killed goes on with the same command, to the same numbers. Records that are there are kept.
    The exit status is 1 if a task failed, and 2 if nothing could be run.

    Example: lthkit run frankle_carbin.tickets --seeds 0-3 --root data --workers 2
    """
    from lthkit.experiments import run as carry_out

    with _one_line("dask"):
        failed = carry_out(
            name, _seeds(seeds) if seeds else None, out, root, file, checkpoints, scheduler or None, workers or None,
            limit, progress=True,
        )  # fmt: skip
    for line in failed:
        typer.echo(line, err=True)
    if failed:
        raise typer.Exit(1)


@app.command("report")
def report_of(
    folder: Annotated[Path, typer.Argument(help="Of the records.", show_default=False)],
    name: Annotated[list[str] | None, typer.Option(help=NAME + " May be repeated. All by default.")] = None,
) -> None:
    """Print the tables of recorded experiments: means over the seeds, with 95 % intervals.

    Example: lthkit report book/results/full_scale --name small
    """
    from lthkit.experiments import show

    with _one_line():
        typer.echo(show.reported(folder, name or []))


@app.command()
def data(
    name: Annotated[str, typer.Argument(help="Of the data set, as in mnist.", show_default=False)],
    root: Annotated[Path, typer.Option(help="The folder for its files.")] = Path("data"),
) -> None:
    """Fetch a data set where it is missing, and check it. The exit status is 2 if it is not what was published."""
    from lthkit.data import load

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = load(name, root=root, download=True)
        except (ValueError, OSError, ImportError) as error:
            _stop(_line(error))
    if other := [str(warning.message) for warning in told if "other files than published" in str(warning.message)]:
        _stop(other[0])
    typer.echo(f"{found}: complete, as published")


@contextmanager
def _one_line(extra: str = "") -> Iterator[None]:
    """Turns what stops a command into one line; extra: that of lthkit which has the packages it may miss."""
    try:
        yield
    except ModuleNotFoundError as error:
        _stop(f'this needs {error.name}: pip install "lthkit[{extra}]"' if extra else _line(error))
    except (ValueError, OSError, ImportError) as error:
        _stop(_line(error))


def _seeds(text: str) -> list[int]:
    """Seeds as in "0-3" or "0,2,5".  Raises ValueError for any other text."""
    found: list[int] = []
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not ends or (ends[2] and int(ends[2]) < int(ends[1])):
            raise ValueError(f"seeds must be as in 0-3 or 0,2,5, got {text!r}")
        found += range(int(ends[1]), int(ends[2] or ends[1]) + 1)
    return found


def _line(error: Exception) -> str:
    named = isinstance(error, OSError) and error.filename
    return " ".join((f"{error.strerror}: {error.filename}" if named else str(error)).split())


def _stop(problem: str) -> NoReturn:
    typer.echo(problem, err=True)
    raise typer.Exit(2)
