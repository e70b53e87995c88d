"""Serves an app until the process is told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from teahouse.web.app import App
from teahouse.web.realtime import REALTIME, Realtime
from teahouse.web.server import Server

_GC_THRESHOLD = 20_000
# Databases, logs, outgoing connections.
_OTHER_DESCRIPTORS = 500


async def serve(
    app: App,
    *,
    host: str,
    port: int,
    realtime_port: int = 0,
    shutdown_seconds: float = 10.0,
    drain_seconds: float = 0.0,
    on_ready: Callable[[int, int], None] | None = None,
    **server_options: Any,
) -> None:
    """Runs until SIGTERM or SIGINT; ``on_ready`` gets the port, and that of ``App.realtime`` or 0, once requests are
    answered.

    Then: not ready but serving for ``drain_seconds``, no new connection, answers to what was asked, background work,
    stop hooks. A second signal ends the process at once. ``server_options`` go to ``Server``. Raises ``OSError`` where
    the port is taken.
    """
    stop = _stop_event()
    async with running(app, shutdown_seconds, **server_options) as server:
        bound = await server.start(host, port)
        realtime = 0 if app.realtime is None else await _listen(app.realtime, host, realtime_port)
        if on_ready is not None:
            on_ready(bound, realtime)
        await stop.wait()
        await server.leave(drain_seconds)


@asynccontextmanager
async def running(app: App, shutdown_seconds: float, **server_options: Any) -> AsyncIterator[Server]:
    """The app from its start to its end, with a server that does not listen yet; at the end nothing is left of both."""
    server = Server(app, **server_options)
    _raise_descriptor_limit(server.limits.connections + (0 if app.realtime is None else app.realtime.most_connections))
    try:
        await app.startup()
        _spare_the_collector()
        yield server
    finally:
        if app.realtime is not None:
            # Along with HTTP, which the clients of closed sockets may be asking already.
            await asyncio.gather(app.realtime.stop(), server.stop(shutdown_seconds))
        else:
            await server.stop(shutdown_seconds)
        await app.shutdown(shutdown_seconds)
        await server.log.aclose()


async def _listen(realtime: Realtime, host: str, port: int) -> int:
    try:
        return await realtime.start(host, port)
    except OSError as error:
        error.add_note(REALTIME)
        raise


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    return stop


def _raise_descriptor_limit(connections: int) -> None:
    # Shells allow 1024 descriptors as a rule, far fewer than connections; what the system allows beyond is for taking.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _spare_the_collector() -> None:
    # Modules, routes and schemas live as long as the process: collections need not walk them. Requests make no cycles,
    # so that a collection every few hundred allocations finds nothing.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 50)
