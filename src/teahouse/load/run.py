"""The load against one server: people, rooms, sockets, then messages at an even rate, each awaited by all."""

from __future__ import annotations

import asyncio
from time import perf_counter, process_time
from typing import NamedTuple

from teahouse.client import Address, NotAnAddress, Tally, read_address
from teahouse.load.crowd import Crowd, make_room
from teahouse.load.people import gather, registry
from teahouse.load.plan import LoadFailed, Plan
from teahouse.load.process import Usage, usage_of
from teahouse.load.progress import Progress
from teahouse.load.report import Measured, Report, Usages, report_on
from teahouse.load.socket import Member

# As often as this the clock is looked at: what is due leaves together.
_TICK_SECONDS = 0.001
_LOOK_SECONDS = 0.05
_CONTENT = '"A cup of tea, anyone? 喝杯茶吗？"'.encode()


async def play(plan: Plan, *, url: str, realtime_url: str, pid: int | None, progress: Progress) -> Report:
    """Plays it and tells what was seen; ``pid`` is the server's, where it runs on this machine.

    Raises ``LoadFailed`` where it cannot be played there.
    """
    address = _address(realtime_url)
    make_room(plan.connections)
    tally = Tally()
    usages = [_usage(pid)]
    async with registry(url) as found:
        members = await gather(plan, found, progress)
    crowd = Crowd(address, tally)
    usages.append(_usage(pid))
    try:
        await crowd.connect(members, progress)
        usages.append(_usage(pid))
        talk = await _talk(plan, crowd, tally, progress)
        if crowd.held:
            usages.append(_usage(pid))
        held = crowd.held
    finally:
        await crowd.leave()
    seen = [each for each in usages if each is not None]
    # A server that let everybody go may be no more.
    whole = Usages(*seen) if len(seen) == len(Usages._fields) else None
    measured = Measured(held, talk.seconds, talk.latest, talk.own_cpu_seconds, whole)
    return report_on(plan, tally, measured)


class _Talk(NamedTuple):
    """``seconds`` from the first message to the last that somebody heard; ``latest``: how late the load itself was at
    worst, in seconds.
    """

    seconds: float
    latest: float
    own_cpu_seconds: float


async def _talk(plan: Plan, crowd: Crowd, tally: Tally, progress: Progress) -> _Talk:
    began, cpu = perf_counter(), process_time()
    progress.begin("Messages are sent", plan.messages)
    latest = await _say_all(plan, crowd, tally, progress, began)
    progress.end()
    progress.begin("The last ones are awaited", tally.expected)
    await _hear_all(plan, crowd, tally, progress)
    progress.end()
    return _Talk(max(tally.last_heard - began, 1e-9), latest, process_time() - cpu)


async def _say_all(plan: Plan, crowd: Crowd, tally: Tally, progress: Progress, began: float) -> float:
    turns = Turns(plan, crowd.sockets)
    latest = 0.0
    number = 0
    while number < plan.messages and crowd.held and tally.under_way < plan.most_under_way:
        now = perf_counter()
        due = min(int((now - began) * plan.rate) + 1, plan.messages)
        if number < due:
            latest = max(latest, now - began - number / plan.rate)
            progress.advance(due - number)
        for each in range(number, due):
            turns.say(each, tally)
        number = due
        await asyncio.sleep(max(began + number / plan.rate - perf_counter(), _TICK_SECONDS))
    return latest


async def _hear_all(plan: Plan, crowd: Crowd, tally: Tally, progress: Progress) -> None:
    shown = 0
    quiet_since = perf_counter()
    while tally.under_way and crowd.held and perf_counter() - quiet_since < plan.patience:
        if tally.delivered > shown or tally.last_heard > quiet_since:
            quiet_since = perf_counter()
        progress.advance(tally.delivered - shown)
        shown = tally.delivered
        await asyncio.sleep(_LOOK_SECONDS)
    progress.advance(tally.delivered - shown)


class Turns:
    """Room after room, and in each room member after member."""

    def __init__(self, plan: Plan, sockets: list[Member]) -> None:
        self._rooms = [sockets[numbers.start : numbers.stop] for numbers in plan.rooms()]

    def say(self, number: int, tally: Tally) -> None:
        """The message of that number, by whose turn it is, or the next in the room whose socket is open."""
        room = self._rooms[number % len(self._rooms)]
        turn = number // len(self._rooms)
        for step in range(len(room)):
            socket = room[(turn + step) % len(room)]
            if socket.is_open:
                tally.say(str(number), socket.place, len(room), perf_counter())
                socket.say(str(number), socket.room, _CONTENT)
                return


def _address(url: str) -> Address:
    try:
        return read_address(url)
    except NotAnAddress as error:
        raise LoadFailed(f"--realtime-url: {error}") from error


def _usage(pid: int | None) -> Usage | None:
    return None if pid is None else usage_of(pid)
