"""The ``teahouse`` command. Each subcommand is one file, imported when it is called for."""

from __future__ import annotations

import importlib

import click

from teahouse.problems import Problem
from teahouse.settings import SettingsError

_COMMANDS = ("serve", "demo", "init", "user", "migrate", "doctor", "openapi", "asyncapi", "reconcile", "key", "load")


class _Teahouse(click.Group):
    """Finds a subcommand in the module of its name, and turns known errors into a sentence and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"teahouse.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            _say(str(error))
            ctx.exit(2)
        except Problem as problem:
            _say(problem.detail, *(f"{place.pointer} {place.detail}" for place in problem.errors))
            if problem.__cause__ is not None:
                _say(str(problem.__cause__).partition("\n")[0] or type(problem.__cause__).__name__)
            ctx.exit(1)


def _say(*lines: str) -> None:
    for line in lines:
        click.echo(f"teahouse: {line}".replace("\n", "\nteahouse: "), err=True)


@click.group("teahouse", cls=_Teahouse, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="teahouse", message="%(prog)s %(version)s")
def main() -> None:
    """The Python backend for mini-programs.

    Settings come from teahouse.toml, then TEAHOUSE_* variables, then the options of a command.
    """
