"""The command `lthkit`."""

import json
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


def _stop(problem: str) -> NoReturn:
    typer.echo(problem, err=True)
    raise typer.Exit(2)
