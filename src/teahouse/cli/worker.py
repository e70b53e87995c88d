"""A worker of a node: serves on sockets that its supervisor owns, and does what that one says."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

from teahouse.cli.post import ACCEPT, CEDE, PLAIN, READY, RETIRE, STOP, Place, Post
from teahouse.settings import SettingsError
from teahouse.web.serving import running

if TYPE_CHECKING:
    from teahouse.web import App
    from teahouse.web.realtime import Realtime
    from teahouse.web.server import Server

# Nobody waits for a worker that was replaced: who keeps a connection to it is given the time to ask once more.
_RETIRING_SECONDS = 2.0
_NO_REALTIME = (
    "realtime_port: {} cannot be listened on, or the app took no sockets when the node was started. Stop what uses it, "
    "choose another with --realtime-port, or start the node anew."
)


class Orders:
    """What the supervisor says. ``ending`` becomes why the worker is to end, "" where the supervisor has gone."""

    def __init__(self, place: Place, server: Server, realtime: Realtime | None, realtime_port: int) -> None:
        self._place = place
        self._server = server
        self._realtime = realtime
        self._realtime_port = realtime_port
        # The descriptors of every worker's listening sockets.
        self._http = [[each for each in doors if _port(each) != realtime_port] for doors in place.doors]
        self._sockets = [[each for each in doors if _port(each) == realtime_port] for doors in place.doors]
        self._post = Post(socket.socket(fileno=place.post))
        self._accepting: dict[int, list[tuple[Server | Realtime, asyncio.Server]]] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self.ending: asyncio.Future[str] = self._loop.create_future()

    async def begin(self, title: str) -> None:
        """Accepts on this worker's own sockets, and listens to the supervisor from now on.

        Raises ``SettingsError`` where the app takes sockets beside HTTP, and the supervisor could not listen for them.
        """
        if self._realtime is None:
            self._post.say(PLAIN)
            self._close(self._sockets)
        elif not self._sockets[self._place.index]:
            raise SettingsError(_NO_REALTIME.format(self._realtime_port))
        await self._accept(self._place.index)
        self._loop.add_reader(self._post.fileno(), self._heard)
        self._post.say(READY, title)

    async def _accept(self, index: int) -> None:
        accepting = self._accepting[index] = []
        for number in (*self._http[index], *self._sockets[index]):
            listener = self._realtime if number in self._sockets[index] else self._server
            if listener is not None:
                # A duplicate: closing it leaves the socket itself, and the others' copies, as they are.
                door = socket.socket(fileno=os.dup(number))
                accepting.append((listener, await listener.accept_from(door)))

    def _heard(self) -> None:
        word, about = self._post.hear() or ("", "")
        if word == ACCEPT:
            task = self._loop.create_task(self._accept(int(about)))
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        elif word == CEDE:
            for listener, doors in self._accepting.pop(int(about), ()):
                listener.accept_no_more(doors)
        else:
            self._loop.remove_reader(self._post.fileno())
            if not self.ending.done():
                self.ending.set_result(word)

    def let_go(self) -> None:
        """Closes this process's copies of the sockets; only what accepts from them holds them now."""
        self._close(self._http)
        self._close(self._sockets)

    @staticmethod
    def _close(doors: list[list[int]]) -> None:
        for each in doors:
            for number in each:
                os.close(number)
            each.clear()


def _port(descriptor: int) -> int:
    with socket.socket(fileno=os.dup(descriptor)) as door:
        return int(door.getsockname()[1])


async def work(
    app: App,
    place: Place,
    *,
    realtime_port: int,
    shutdown_seconds: float,
    drain_seconds: float,
    **server_options: Any,
) -> None:
    """Serves until the supervisor says so, or ends. ``server_options`` go to ``Server``."""
    _leave_signals_to_the_supervisor()
    async with running(app, shutdown_seconds, **server_options) as server:
        server.start_ticking()
        orders = Orders(place, server, app.realtime, realtime_port)
        if app.siblings is not None:
            await app.siblings.open()
        await orders.begin(app.title)
        why = await orders.ending
        orders.let_go()
        if why == RETIRE:
            leaving = [server.hand_over(max(drain_seconds, _RETIRING_SECONDS))]
            if app.realtime is not None:
                leaving.append(app.realtime.stop(handed_over=True))
            await asyncio.gather(*leaving)
        else:
            await server.leave(drain_seconds if why == STOP else 0)


def _leave_signals_to_the_supervisor() -> None:
    # systemd tells every process of a service, and the supervisor tells its workers in their turn.
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _ignored)


def _ignored() -> None:
    pass
