"""The command `lthkit`."""

import json
import warnings
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


def _line(error: Exception) -> str:
    named = isinstance(error, OSError) and error.filename
    return " ".join((f"{error.strerror}: {error.filename}" if named else str(error)).split())


def _stop(problem: str) -> NoReturn:
    typer.echo(problem, err=True)
    raise typer.Exit(2)
