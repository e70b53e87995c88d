"""Everybody's sockets at one server: connected some at a time, held, and cut in the end."""

import asyncio
import resource
from collections.abc import Sequence

from bench.failures import BenchFailed
from bench.messages.books import Noted
from bench.messages.dialects import Dialect, Person
from bench.messages.frames import request
from bench.messages.sockets import Listener, Newcomer

OTHER_FILES = 200
AT_ONCE = 64
PATIENCE = 30.0


def allow_files(connections: int) -> None:
    """Raises this process's limit of open files, and that of the servers it starts. Raises BenchFailed."""
    wanted = connections + OTHER_FILES
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < wanted:
        raise BenchFailed(f"{connections:,} connections need {wanted:,} open files: raise the limit (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if most == resource.RLIM_INFINITY else most, most))


class Crowd:
    """People at the server on ``port``. ``notes`` is what came to them, ``gone`` why somebody is not there any more."""

    def __init__(self, port: int, dialect: Dialect) -> None:
        self.people: list[Listener] = []
        self.notes: list[Noted] = []
        self.gone: list[str] = []
        self.dialect = dialect
        self._port = port

    async def enter(self, people: Sequence[Person], rooms: Sequence[str | None], speakers: set[int]) -> None:
        """Connects them all, each in the room beside it; more may follow. Raises BenchFailed."""
        start = len(self.people)
        waiting = iter(range(len(people)))
        found: dict[int, Listener] = {}

        async def enter_some() -> None:
            for number in waiting:
                place = start + number
                found[number] = await self._connect(people[number], rooms[number], place, speaks=place in speakers)

        await asyncio.gather(*(enter_some() for _ in range(AT_ONCE)))
        self.people += [found[number] for number in range(len(people))]
        self.check()

    def check(self) -> None:
        """Raises BenchFailed where somebody is not there any more."""
        if self.gone:
            raise BenchFailed(f"{len(self.gone):,} connections were lost; {self.gone[0]}")

    async def leave(self) -> None:
        """Cuts all connections."""
        for each in self.people:
            each.abort()
        # Transports end in the next turns of the loop.
        await asyncio.sleep(0.1)

    async def _connect(self, person: Person, room: str | None, place: int, *, speaks: bool) -> Listener:
        dialect = self.dialect
        upgrade = request(self._port, dialect.path, None if dialect.hello else person.token)
        newcomer = Newcomer(
            upgrade,
            dialect,
            dialect.entry(person, room, speaks=speaks),
            lambda wire: Listener(wire, dialect, place, self.notes.append, self.gone.append),
        )
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.get_running_loop().create_connection(lambda: newcomer, "127.0.0.1", self._port)
                return await newcomer.entered
        except (OSError, TimeoutError) as error:
            raise BenchFailed(f"connection {place + 1:,} cannot be had: {error or 'no answer'}") from error
