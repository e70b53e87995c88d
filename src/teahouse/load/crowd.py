"""Everybody's socket: connected so many at a time, held, and closed in the end."""

from __future__ import annotations

import errno
import ssl

from teahouse.client import Address, OpenSockets, Refused, Tally, allow_descriptors, request
from teahouse.load.people import Person, in_crowd
from teahouse.load.plan import LoadFailed
from teahouse.load.progress import Progress
from teahouse.load.socket import Member

_AT_ONCE = 100
_PATIENCE_SECONDS = 30.0
_GOODBYE_SECONDS = 10.0
_OTHER_DESCRIPTORS = 200
_HINTS = {
    401: "The server does not know the people it has just logged in: --url and --realtime-url must be one server's.",
    503: "It takes no more: see messages.connections of the server, or ask for fewer --connections.",
}
_NO_GATEWAY = "--realtime-url must be a Teahouse's realtime port, which `teahouse serve` names at its start."


def make_room(connections: int) -> None:
    """Raises this process's limit where the system lets it. Raises ``LoadFailed`` where it does not."""
    wanted = connections + _OTHER_DESCRIPTORS
    allowed = allow_descriptors(wanted)
    if allowed < wanted:
        raise LoadFailed(
            f"{connections:,} connections need {wanted:,} open files, and this process may have {allowed:,}: raise the "
            f"limit (ulimit -Hn {wanted}) or ask for at most --connections {max(allowed - _OTHER_DESCRIPTORS, 0)}."
        )


class Crowd:
    """The sockets, in rooms one after the other."""

    def __init__(self, address: Address, tally: Tally) -> None:
        self.sockets: list[Member] = []
        self.held = 0
        self._address = address
        self._tally = tally
        self._tls = ssl.create_default_context() if address.secure else None
        self._open = OpenSockets()

    async def connect(self, members: list[tuple[str, Person, int]], progress: Progress) -> None:
        """Everybody's socket, welcomed. Raises ``LoadFailed``."""

        async def connect(member: tuple[str, Person, int]) -> Member:
            socket = await self._connect(*member)
            progress.advance()
            return socket

        progress.begin("Sockets connect", len(members))
        self.sockets = await in_crowd(connect, members, _AT_ONCE)
        progress.end()

    async def leave(self) -> None:
        """Everybody says goodbye; who is not answered within a few seconds is cut off."""
        await self._open.leave(within=_GOODBYE_SECONDS)

    async def _connect(self, room: str, person: Person, place: int) -> Member:
        address = self._address
        socket = Member(self._tally, room, place, request(address, person.token), self._ended)
        try:
            await self._open.connect(socket, address, self._tls, patience=_PATIENCE_SECONDS)
        except (Refused, OSError) as error:
            raise self._explained(error) from error
        self.held += 1
        return socket

    def _explained(self, error: Refused | OSError) -> LoadFailed:
        before = f"Socket {self.held + 1:,} cannot be had at {self._address.url}"
        if isinstance(error, TimeoutError):
            return LoadFailed(f"{before}: no welcome within {_PATIENCE_SECONDS:g} s. {_NO_GATEWAY}")
        if isinstance(error, Refused):
            hint = _HINTS.get(error.status) or _NO_GATEWAY
            if error.code:
                hint = "Its log may say why."
            return LoadFailed(f"{before}: {error}. {hint}")
        hint = "One source address has no more ports." if error.errno == errno.EADDRNOTAVAIL else _NO_GATEWAY
        return LoadFailed(f"{before}: {error.strerror or error}. {hint}")

    def _ended(self, socket: Member, code: int) -> None:
        self.held -= 1
        if not self._open.leaving:
            self._tally.lost[code] += 1
        self._open.ended(socket)
