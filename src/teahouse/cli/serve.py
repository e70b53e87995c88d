"""``teahouse serve``: the server, until it is told to stop."""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teahouse import datadir
from teahouse.cli import options
from teahouse.cli.target import find_app
from teahouse.settings import Settings, SettingsError
from teahouse.settings_sources import load
from teahouse.web.descriptor import DescriptorHandler, DescriptorWriter

if TYPE_CHECKING:
    from teahouse.web import App

_SPARE_DESCRIPTORS = 100
_LAST_WORDS_SECONDS = 2.0
# At INFO httpx tells every address it calls, and WeChat wants its secret in the address.
_TOO_TALKATIVE = ("alembic", "httpx")
_CANNOT_LISTEN = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)


@click.command("serve", short_help="Serve Teahouse, or an app of your own.")
@click.argument("target", metavar="[MODULE:APP]", required=False)
@options.config
@options.data_dir
@click.option("--host", metavar="ADDRESS", help="Address to listen on  [default: 127.0.0.1]")
@click.option("--port", type=int, metavar="PORT", help="HTTP port, 0 for any free one  [default: 8000]")
@click.option("--realtime-port", type=int, metavar="PORT", help="WebSocket port  [default: 8001]")
@click.option("--workers", type=int, metavar="N", help="Worker processes  [default: 1]")
def command(target: str | None, config: Path | None, **given: object) -> None:
    """Serve Teahouse, or the app that MODULE:APP names (such as app:app for app.py in this directory).

    Ready when /readyz answers 200. SIGTERM and Ctrl-C stop it in order: it takes no new work, finishes what it
    accepted and exits 0. A second signal ends it at once.
    """
    settings = load(config=config, options=given)
    with ExitStack() as held:
        _log_to_stderr(held)
        app = find_app(target)
        compose = getattr(app, "compose", None)
        if compose is not None:
            held.enter_context(datadir.locked(settings.data_dir))
            compose(settings)
        access_log = _access_log(settings.access_log, held)
        _allow_descriptors(settings.http.connections)
        _run(app, settings, access_log)


def _run(app: App, settings: Settings, access_log: int | None) -> None:
    import uvloop

    from teahouse.web.cors import Cors
    from teahouse.web.limits import Limits
    from teahouse.web.origin import networks
    from teahouse.web.serving import serve

    http = settings.http
    limits = Limits(
        head_bytes=http.head_bytes,
        head_seconds=http.head_seconds,
        body_bytes=http.json_bytes,
        body_seconds=http.body_seconds,
        write_seconds=http.write_seconds,
        idle_seconds=http.idle_seconds,
        connections=http.connections,
    )
    serving = serve(
        app,
        host=settings.host,
        port=settings.port,
        shutdown_seconds=settings.shutdown_seconds,
        on_ready=lambda port: _greet(app, settings.host, port),
        limits=limits,
        trusted=networks(settings.trusted_proxies),
        cors=Cors(settings.cors.origins) if settings.cors.origins else None,
        access_log=access_log,
    )
    try:
        uvloop.run(serving)
    except OSError as error:
        if error.errno not in _CANNOT_LISTEN and not isinstance(error, socket.gaierror):
            raise
        raise SettingsError(
            f"port: {settings.host}:{settings.port} cannot be listened on ({error.strerror or error}). "
            "Stop what uses it, or choose another with --port."
        ) from error


def _greet(app: App, host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"{app.title} serves http://{shown}:{port} (its interface: /docs). Ctrl-C stops it.", err=True)


def _log_to_stderr(held: ExitStack) -> None:
    # Whoever started the server may never read its stderr: a full pipe must stop neither a request nor the end.
    writer = DescriptorWriter(sys.stderr.fileno(), name="log")
    held.callback(writer.close, _LAST_WORDS_SECONDS)
    handler = DescriptorHandler(writer)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", handlers=[handler]
    )
    for name in _TOO_TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Alembic tells of each of its plugins.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _access_log(choice: str, held: ExitStack) -> int | None:
    if choice == "off":
        return None
    if choice in ("stderr", "stdout"):
        return (sys.stderr if choice == "stderr" else sys.stdout).fileno()
    try:
        descriptor = os.open(choice, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise SettingsError(
            f"access_log: {choice} cannot be written ({error.strerror}); choose another file."
        ) from error
    held.callback(os.close, descriptor)
    return descriptor


def _allow_descriptors(connections: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))
