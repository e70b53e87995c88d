"""The servers under test: how each is started, and who its people and their rooms are."""

import json
import secrets
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jwt
import uvloop

from bench import teahouse
from bench.failures import BenchFailed
from bench.machine import Cores
from bench.messages.dialects import CENTRIFUGO, HUB, TEAHOUSE, Dialect, Person
from bench.messages.settings import CONNECTIONS, HELD, LARGE, SMALL, Setting
from bench.outcome import OURS
from bench.peers.messages import CENTRIFUGO_NAME, GORILLA, NODE, STORING, Programs
from bench.servers import Plan, file_name, free_port, started
from teahouse.load import LoadFailed
from teahouse.load.people import in_crowd, registry

SERVERS = (OURS, GORILLA, STORING, CENTRIFUGO_NAME, NODE)
DAY = 86_400
IDLE = "idle"
# Nobody's token runs out during a run.
LIVES = {
    "TEAHOUSE_ACCOUNTS__ACCESS_TOKEN_SECONDS": str(DAY),
    "TEAHOUSE_ACCOUNTS__SESSION_IDLE_SECONDS": str(DAY),
}


@dataclass(frozen=True, slots=True)
class Cast:
    """People, each with the room they are in, if any."""

    people: Sequence[Person]
    rooms: Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Site:
    """A server: ``plan`` makes a fresh start of it, ``port`` is where its WebSockets are then."""

    name: str
    dialect: Dialect
    casts: Mapping[str, Cast]
    plan: Callable[[], Plan]
    port: Callable[[Plan], int]


def sites(names: Sequence[str], programs: Programs, folder: Path, cores: Cores) -> list[Site]:
    """Those of ``SERVERS`` that are named, in that order. Raises BenchFailed."""
    secret = secrets.token_hex(32)
    strangers = _strangers(secret)
    made: list[Site] = []
    if OURS in names:
        made.append(_ours(folder, cores))
    if GORILLA in names:
        made.append(_peer(GORILLA, HUB, strangers, lambda: _hub(GORILLA, programs, secret, folder)))
    if STORING in names:
        kept = ("-store", str(folder / "hub.db"))
        made.append(_peer(STORING, HUB, strangers, lambda: _hub(STORING, programs, secret, folder, *kept)))
    if CENTRIFUGO_NAME in names:
        made.append(_peer(CENTRIFUGO_NAME, CENTRIFUGO, strangers, lambda: _centrifugo(programs, secret, folder)))
    if NODE in names:
        made.append(_peer(NODE, HUB, strangers, lambda: _node(programs, secret, folder)))
    return made


# --- Teahouse: people log in and make rooms through its HTTP side -----------------------------------------------------


def _ours(folder: Path, cores: Cores) -> Site:
    def plan() -> Plan:
        return teahouse.on_engines(OURS, folder, LIVES)

    with started(plan(), core=cores.server) as server:
        try:
            casts = uvloop.run(_log_everybody_in(server.url))
        except LoadFailed as failed:
            raise BenchFailed(f"{OURS}: {failed}") from failed
    return Site(OURS, TEAHOUSE, casts, plan, teahouse.realtime_port)


async def _log_everybody_in(url: str) -> Mapping[str, Cast]:
    async with registry(url) as found:

        async def people(count: int) -> list[Person]:
            return [Person(*each) for each in await in_crowd(found.log_in, range(count))]

        async def cast(setting: Setting) -> Cast:
            everybody = await people(setting.people)
            places = setting.places()
            rooms = await in_crowd(lambda place: found.make_room(everybody[place.start : place.stop]), places)
            return Cast(everybody, [room for room, place in zip(rooms, places, strict=True) for _ in place])

        held = await cast(HELD)
        idle = Cast(await people(CONNECTIONS), [None] * CONNECTIONS)
        return {IDLE: idle, LARGE.name: await cast(LARGE), SMALL.name: _beginning(held), HELD.name: held}


def _beginning(held: Cast) -> Cast:
    return Cast(held.people[: SMALL.people], held.rooms[: SMALL.people])


# --- the others: tokens are signed here, rooms are joined over the socket ---------------------------------------------


def _strangers(secret: str) -> Mapping[str, Cast]:
    expires = int(time.time()) + DAY
    ids = [uuid.uuid4().hex for _ in range(CONNECTIONS)]
    people = [Person(each, jwt.encode({"sub": each, "exp": expires}, secret, "HS256")) for each in ids]

    def cast(setting: Setting) -> Cast:
        rooms = [room for places in setting.places() for room in [uuid.uuid4().hex] * len(places)]
        return Cast(people[: setting.people], rooms)

    return {IDLE: Cast(people, [None] * CONNECTIONS), **{each.name: cast(each) for each in (LARGE, SMALL, HELD)}}


def _peer(name: str, dialect: Dialect, casts: Mapping[str, Cast], plan: Callable[[], Plan]) -> Site:
    return Site(name, dialect, casts, plan, lambda started: started.port)


def _hub(name: str, programs: Programs, secret: str, folder: Path, *options: str) -> Plan:
    port = free_port()
    command = [str(programs.hub), "-addr", f"127.0.0.1:{port}", *options]
    return Plan(name, command, port, "/healthz", _output(name, folder), environment={"HUB_SECRET_KEY": secret})


def _node(programs: Programs, secret: str, folder: Path) -> Plan:
    port = free_port()
    command = ["node", str(programs.node), str(port)]
    return Plan(NODE, command, port, "/healthz", _output(NODE, folder), environment={"HUB_SECRET_KEY": secret})


def _centrifugo(programs: Programs, secret: str, folder: Path) -> Plan:
    port = free_port()
    file = folder / "centrifugo.json"
    file.write_text(json.dumps(centrifugo_settings(port, secret)))
    command = [str(programs.centrifugo), "--config", str(file)]
    return Plan(CENTRIFUGO_NAME, command, port, "/health", _output(CENTRIFUGO_NAME, folder))


def centrifugo_settings(port: int, secret: str) -> dict[str, object]:
    """As it comes, with the memory engine; people may come into rooms and speak there, and write buffers are shared, as
    its documentation advises for many connections.
    """
    return {
        "http_server": {"address": "127.0.0.1", "port": str(port)},
        "health": {"enabled": True},
        "log": {"level": "warn"},
        "websocket": {"use_write_buffer_pool": True},
        "client": {"token": {"hmac_secret_key": secret}},
        "channel": {
            "namespaces": [{"name": "room", "allow_subscribe_for_client": True, "allow_publish_for_client": True}]
        },
    }


def _output(name: str, folder: Path) -> Path:
    return folder / f"{file_name(name)}-output.log"
