"""``teahouse openapi``: the interface as an OpenAPI 3.1 document."""

from __future__ import annotations

import json
from pathlib import Path
from secrets import token_hex

import click
from msgspec import structs

from teahouse.cli import options
from teahouse.cli.target import find_app
from teahouse.settings import Secret
from teahouse.settings_sources import load


@click.command("openapi", short_help="Print the interface as OpenAPI 3.1.")
@click.argument("target", metavar="[MODULE:APP]", required=False)
@options.config
def command(target: str | None, config: Path | None) -> None:
    """Print the OpenAPI 3.1 document of Teahouse, or of the app that MODULE:APP names. Starts nothing."""
    from teahouse.web.openapi import describe

    app = find_app(target)
    compose = getattr(app, "compose", None)
    if compose is not None:
        # A key that signs nothing: to print a document is no reason to make a data directory.
        compose(structs.replace(load(config=config), secret_key=Secret(token_hex(32))))
    app.compile()
    click.echo(json.dumps(describe(app), ensure_ascii=False, indent=2))
