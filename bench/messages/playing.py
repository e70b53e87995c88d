"""One server, one setting: people come in, somebody speaks, everybody hears; what it cost is weighed meanwhile."""

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any, TypeVar

import uvloop

from bench.failures import BenchFailed
from bench.figures import Sample
from bench.machine import Cores, busy_seconds
from bench.messages.books import Books, Heard, content, require_all
from bench.messages.crowd import Crowd
from bench.messages.settings import CONNECTIONS, Setting
from bench.messages.sites import IDLE, Cast, Site
from bench.servers import Server, started

LOAD = "load"
MOST_BUSY = 0.85
"""Share of its core that the load may use: beyond it the delays would be its own."""
FIRST = 100
"""So many connections pay for what a server sets up once; the memory of the others is weighed."""
SETTLING = 5.0
PATIENCE = 10.0
# As often as this the clock is looked at: what is due leaves together.
TICK = 0.001
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Idle:
    """What connections take that nobody speaks on. Bytes are resident and the server's own, not the kernel's."""

    bytes_per_connection: float
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Played:
    """A round: ``frame_bytes`` is a delivery's size."""

    sample: Sample
    frame_bytes: float


def idle(site: Site, cores: Cores) -> Idle:
    """Weighs the connections of people who are in no room. Raises BenchFailed."""

    async def weigh(server: Server, crowd: Crowd) -> Idle:
        cast = site.casts[IDLE]
        await crowd.enter(cast.people[:FIRST], cast.rooms[:FIRST], set())
        await asyncio.sleep(1.0)
        before = server.resident_bytes()
        await crowd.enter(cast.people[FIRST:CONNECTIONS], cast.rooms[FIRST:CONNECTIONS], set())
        await asyncio.sleep(SETTLING)
        crowd.check()
        after = server.resident_bytes()
        return Idle((after - before) / (CONNECTIONS - FIRST), after)

    return _at(site, cores, weigh)


def play(site: Site, setting: Setting, seconds: float, cores: Cores, *, first: int) -> Played:
    """One round, its messages numbered from ``first``: a server that stores them knows those of earlier rounds.

    Raises BenchFailed unless everybody heard everything once.
    """

    async def talk(server: Server, crowd: Crowd) -> Played:
        await _gather(crowd, setting, site.casts[setting.name])
        start = first + round(setting.rate * setting.warm_up_seconds)
        await _say_all(crowd, setting, site.casts[setting.name], range(first, start))
        _books(site, setting, crowd, range(first, start))
        gc.collect()
        numbers = range(start, start + round(setting.rate * seconds))
        return await _measure(server, site, setting, crowd, numbers, cores)

    return _at(site, cores, talk)


def _at(site: Site, cores: Cores, work: Callable[[Server, Crowd], Coroutine[Any, Any, R]]) -> R:
    plan = site.plan()

    async def visit(server: Server) -> R:
        crowd = Crowd(site.port(plan), site.dialect)
        try:
            return await work(server, crowd)
        except BenchFailed as failed:
            raise BenchFailed(f"{site.name}: {failed}") from failed
        finally:
            await crowd.leave()

    # The notes of a round are many small things that live until its end: to look through them again and again helps
    # nobody, and would be measured as delay.
    gc.disable()
    try:
        with started(plan, core=cores.server) as server:
            return uvloop.run(visit(server))
    finally:
        gc.enable()
        gc.collect()


async def _gather(crowd: Crowd, setting: Setting, cast: Cast) -> None:
    speakers = {places.start for places in setting.places()}
    await crowd.enter(cast.people[: setting.people], cast.rooms[: setting.people], speakers)
    await asyncio.sleep(1.0)
    crowd.notes.clear()


async def _measure(server: Server, site: Site, setting: Setting, crowd: Crowd, numbers: range, cores: Cores) -> Played:
    begin, own, busy, cpu = time.monotonic(), process_time(), busy_seconds(cores), server.cpu_seconds()
    seconds = await _say_all(crowd, setting, site.casts[setting.name], numbers)
    cpu, own = server.cpu_seconds() - cpu, process_time() - own
    passed = time.monotonic() - begin
    others = busy_seconds(cores) - busy - cpu - own
    resident = server.resident_bytes()
    if own / passed > MOST_BUSY:
        raise BenchFailed(f"the load used {own / passed:.0%} of its core: its own delays would be measured")
    heard = _books(site, setting, crowd, numbers)
    sample = Sample(
        requests=len(heard.delays),
        seconds=seconds,
        p50_ms=heard.quantile_ms(0.50),
        p99_ms=heard.quantile_ms(0.99),
        cpu_seconds=cpu,
        resident_bytes=resident,
        others=max(0.0, others / passed / 2),
        engine_seconds={LOAD: own},
    )
    return Played(sample, heard.frame_bytes)


def _books(site: Site, setting: Setting, crowd: Crowd, numbers: range) -> Heard:
    crowd.check()
    heard = Books(numbers, setting.places()).enter(crowd.notes, site.dialect.read)
    crowd.notes.clear()
    require_all(site.name, heard)
    return heard


async def _say_all(crowd: Crowd, setting: Setting, cast: Cast, numbers: range) -> float:
    """Sends the messages at an even rate and waits until all seem to be there; returns the seconds that took."""
    places = setting.places()
    speakers = [(crowd.people[each.start], cast.rooms[each.start] or "") for each in places]
    begin, said = perf_counter(), 0
    while said < len(numbers):
        due = min(int((perf_counter() - begin) * setting.rate) + 1, len(numbers))
        for number in numbers[said:due]:
            speaker, room = speakers[number % len(places)]
            speaker.say(number, room, content(number, perf_counter()))
        said = due
        await asyncio.sleep(max(begin + said / setting.rate - perf_counter(), TICK))
    await _hear_all(crowd, len(numbers) * (setting.listeners + 1))
    return max(crowd.notes[-1][0] if crowd.notes else 0.0, begin + len(numbers) / setting.rate) - begin


async def _hear_all(crowd: Crowd, expected: int) -> None:
    """Waits for as many notes as there are deliveries and answers, or until nothing more comes: some may share one."""
    end, seen = perf_counter() + PATIENCE, -1
    while len(crowd.notes) < expected and perf_counter() < end and len(crowd.notes) > seen:
        seen = len(crowd.notes)
        await asyncio.sleep(0.5)
