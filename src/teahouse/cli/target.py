"""Finds the app that ``MODULE:APP`` names."""

from __future__ import annotations

import difflib
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from teahouse.web import App


def find_app(target: str | None) -> App:
    """The named app, its module imported with the working directory on the path; without a name, all of Teahouse."""
    if target is None:
        from teahouse.app import Teahouse

        return Teahouse()
    name, colon, attribute = target.partition(":")
    if not name or not colon or not attribute:
        raise click.UsageError(f"{target} is not MODULE:APP; write app:app for the name app in app.py.")
    module = _import(name)
    app = getattr(module, attribute, None)
    if app is None:
        near = difflib.get_close_matches(attribute, vars(module), n=1)
        hint = f" Did you mean {name}:{near[0]}?" if near else ""
        raise click.UsageError(f"{name} has no {attribute}.{hint}")
    from teahouse.web import App

    if not isinstance(app, App):
        raise click.UsageError(f"{target} is {type(app).__name__}, not an App; see teahouse.web.App.")
    return app


def _import(name: str) -> object:
    directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only a missing target is a slip of the keyboard; what the target itself fails to import needs its traceback.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise click.UsageError(
            f"There is no module {name} in {directory}; change into the directory of your app."
        ) from error
