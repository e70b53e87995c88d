"""``teahouse asyncapi``: the WebSocket frames as an AsyncAPI 3.0 document."""

from __future__ import annotations

import json

import click


@click.command("asyncapi", short_help="Print the WebSocket frames as AsyncAPI 3.0.")
def command() -> None:
    """Print the AsyncAPI 3.0 document of the frames that clients and Teahouse send each other. Starts nothing."""
    from teahouse import __version__
    from teahouse.messages.asyncapi import describe

    click.echo(json.dumps(describe("Teahouse", __version__), ensure_ascii=False, indent=2))
