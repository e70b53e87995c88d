"""``teahouse serve``: the server, until it is told to stop."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from teahouse import datadir
from teahouse.cli import options
from teahouse.cli.target import find_app
from teahouse.settings import Settings, SettingsError
from teahouse.settings_sources import load
from teahouse.web.realtime import REALTIME

if TYPE_CHECKING:
    from teahouse.cli.doors import Doors
    from teahouse.web import App

_LAST_WORDS_SECONDS = 2.0
# Of a stop: requests, background work twice, and the parts that close.
_STOP_STEPS = 8
_SPARE_SECONDS = 5.0
_WORKERS = "workers"
# At INFO httpx tells every address it calls, and WeChat wants its secret in the address; Alembic tells of each plugin.
_TOO_TALKATIVE = ("alembic", "httpx")
_CANNOT_LISTEN = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)


@click.command("serve", short_help="Serve Teahouse, or an app of your own.")
@click.argument("target", metavar="[MODULE:APP]", required=False)
@options.config
@options.data_dir
@click.option("--host", metavar="ADDRESS", help="Address to listen on  [default: 127.0.0.1]")
@click.option("--port", type=int, metavar="PORT", help="HTTP port, 0 for any free one  [default: 8000]")
@click.option("--realtime-port", type=int, metavar="PORT", help="WebSocket port  [default: 8001]")
@click.option("--workers", type=int, metavar="N", help="Worker processes; more than one needs Redis  [default: 1]")
@click.option("--as-worker", "place", hidden=True)
def command(target: str | None, config: Path | None, place: str | None, **given: object) -> None:
    """Serve Teahouse, or the app that MODULE:APP names (such as app:app for app.py in this directory).

    Ready when /readyz answers 200. SIGTERM and Ctrl-C stop it in order: it takes no new work, finishes what it
    accepted and exits 0. A second signal ends it at once. With several workers SIGHUP replaces them one by one.
    """
    settings = load(config=config, options=given)
    if place is None and settings.workers > 1:
        sys.exit(_supervise(target, config, settings))
    with ExitStack() as held:
        _log_to_stderr(held)
        app = find_app(target)
        compose = getattr(app, "compose", None)
        if compose is not None:
            if place is None:
                held.enter_context(datadir.locked(settings.data_dir))
            compose(settings)
        options = _server_options(settings, _access_log(settings.access_log, held))
        if place is None:
            _run(app, settings, options)
        else:
            _run_worker(app, settings, place, options)


def _supervise(target: str | None, config: Path | None, settings: Settings) -> int:
    from teahouse.cli import worker_process
    from teahouse.cli.doors import open_doors
    from teahouse.cli.workers import Supervisor

    # Every worker gets what was decided here; the rest of the settings it reads itself, anew after each SIGHUP.
    words = ["serve", *([target] if target else []), *(["--config", str(config)] if config else [])]
    for name in ("data_dir", "host", "port", "workers"):
        words += [f"--{name.replace('_', '-')}", str(getattr(settings, name))]
    with datadir.locked(settings.data_dir):
        _prepare_posts(settings.data_dir / _WORKERS)
        with _listening_problems(settings):
            http = open_doors(settings.host, settings.port, settings.workers)
        realtime, realtime_port = _realtime_doors(settings)
        port = http[0][0].getsockname()[1]
        supervisor = Supervisor(
            # By the port a worker tells which of the sockets are for HTTP.
            partial(worker_process.start, [*words, "--realtime-port", str(realtime_port)]),
            http,
            realtime=realtime,
            stop_seconds=settings.drain_seconds + _STOP_STEPS * settings.shutdown_seconds + _SPARE_SECONDS,
            on_ready=lambda title: _greet(title, settings.host, port, realtime_port if supervisor.takes_sockets else 0),
        )
        return supervisor.run()


def _realtime_doors(settings: Settings) -> tuple[list[Doors], int]:
    """What is listened on beside HTTP, and the port. Nothing where the port is taken: only a worker knows its app, and
    whether that needs one.
    """
    from teahouse.cli.doors import open_doors

    try:
        opened = open_doors(settings.host, settings.realtime_port, settings.workers)
    except OSError as error:
        if error.errno not in _CANNOT_LISTEN:
            raise
        return [], settings.realtime_port
    return opened, int(opened[0][0].getsockname()[1])


def _prepare_posts(directory: Path) -> None:
    """Makes the folder for the workers' sockets, private and without those of workers before."""
    datadir.prepare(directory)
    directory.chmod(0o700)
    for path in directory.iterdir():
        path.unlink()


def _run(app: App, settings: Settings, options: dict[str, Any]) -> None:
    import uvloop

    from teahouse.web.serving import serve

    serving = serve(
        app,
        host=settings.host,
        port=settings.port,
        shutdown_seconds=settings.shutdown_seconds,
        drain_seconds=settings.drain_seconds,
        realtime_port=settings.realtime_port,
        on_ready=lambda port, realtime_port: _greet(app.title, settings.host, port, realtime_port),
        **options,
    )
    with _listening_problems(settings):
        uvloop.run(serving)


def _run_worker(app: App, settings: Settings, place: str, options: dict[str, Any]) -> None:
    import uvloop

    from teahouse.cli.post import read_place
    from teahouse.cli.worker import work
    from teahouse.web.siblings import Siblings

    mine = read_place(place)
    app.siblings = Siblings(app.metrics, settings.data_dir / _WORKERS, mine.index, settings.workers)
    serving = work(
        app,
        mine,
        realtime_port=settings.realtime_port,
        shutdown_seconds=settings.shutdown_seconds,
        drain_seconds=settings.drain_seconds,
        **options,
    )
    uvloop.run(serving)


def _server_options(settings: Settings, access_log: int | None) -> dict[str, Any]:
    from teahouse.web.cors import Cors
    from teahouse.web.limits import Limits
    from teahouse.web.origin import networks

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
    return {
        "limits": limits,
        "trusted": networks(settings.trusted_proxies),
        "cors": Cors(settings.cors.origins) if settings.cors.origins else None,
        "access_log": access_log,
    }


@contextmanager
def _listening_problems(settings: Settings, key: str = "port") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _CANNOT_LISTEN and not isinstance(error, socket.gaierror):
            raise
        if REALTIME in getattr(error, "__notes__", ()):
            key = "realtime_port"
        host, port = settings.host, getattr(settings, key)
        raise SettingsError(
            f"{key}: {host}:{port} cannot be listened on ({error.strerror or error}). "
            f"Stop what uses it, or choose another with --{key.replace('_', '-')}."
        ) from error


def _greet(title: str, host: str, port: int, realtime_port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    messages = f" and messages at ws://{shown}:{realtime_port}/message" if realtime_port else ""
    click.echo(f"{title} serves http://{shown}:{port} (its interface: /docs){messages}. Ctrl-C stops it.", err=True)


def _log_to_stderr(held: ExitStack) -> None:
    # The supervisor of several workers does without the 10 MB that the kernel takes.
    from teahouse.web.descriptor import DescriptorHandler, DescriptorWriter

    # Whoever started the server may never read its stderr: a full pipe must stop neither a request nor the end.
    writer = DescriptorWriter(sys.stderr.fileno(), name="log")
    held.callback(writer.close, _LAST_WORDS_SECONDS)
    handler = DescriptorHandler(writer)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", handlers=[handler]
    )
    for name in _TOO_TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


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
