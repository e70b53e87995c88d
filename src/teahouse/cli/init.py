"""``teahouse init DIR``: the files of a new app."""

from __future__ import annotations

import re
import shutil
from importlib.resources import as_file, files
from pathlib import Path

import click

_NAME = "__NAME__"
_WITH_NAME = ("app.py", "README.md", "project.config.json", "miniprogram/app.json")


@click.command("init", short_help="Make a new app in a directory of its own.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
def command(directory: Path) -> None:
    """Make a new app in DIR: routes of its own, settings, a README and a mini-program that logs in and buys.

    DIR must be empty or not exist yet.
    """
    name = _name(directory)
    _copy(directory)
    for path in _WITH_NAME:
        file = directory / path
        file.write_text(file.read_text(encoding="utf-8").replace(_NAME, name), encoding="utf-8")
    click.echo(f"A new app is in {directory}. Next:")
    click.echo(f"  cd {directory}")
    click.echo("  teahouse serve app:app")
    click.echo("then open http://127.0.0.1:8000/docs; README.md tells the rest.")


def _copy(directory: Path) -> None:
    try:
        if directory.exists() and any(directory.iterdir()):
            raise click.UsageError(f"{directory} is not empty; choose a directory that is empty or does not exist.")
        with as_file(files("teahouse.cli") / "templates") as templates:
            shutil.copytree(
                templates,
                directory,
                dirs_exist_ok=True,
                copy_function=shutil.copyfile,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
    except OSError as error:
        raise click.UsageError(f"{directory} cannot be written: {error.strerror or error}") from error


def _name(directory: Path) -> str:
    # The name goes into JSON and Python texts as it is, so only letters, digits, spaces, - and _ stay.
    return re.sub(r"[^\w -]+", " ", directory.absolute().name).strip() or "Teahouse"
