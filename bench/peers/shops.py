"""The shop that Go programmers would write: how to start it, and how its Redis comes to a sale."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.engines import Redis
from bench.failures import BenchFailed
from bench.machine import pinned
from bench.servers import Plan, file_name, free_port

LUA = Path(__file__).resolve().parents[2] / "src" / "teahouse" / "sales" / "lua"
GO_REDIS = "Gin + go-redis"
AUTOPIPELINE = "Gin + go-redis, autopipeline"
RUEIDIS = "Gin + rueidis"
RECORDING = "Gin + rueidis, recording"
CLIENTS = {
    GO_REDIS: "go-redis",
    AUTOPIPELINE: "go-redis-autopipeline",
    RUEIDIS: "rueidis",
    RECORDING: "rueidis",
}


@dataclass(frozen=True, slots=True)
class Site:
    """What shops share: the program, the stock script, a Redis server and the key of the tokens.

    ``record``: the data source name of the database in which ``RECORDING`` records.
    """

    binary: Path
    redis: Redis
    secret: str
    folder: Path
    record: str = ""

    def plan(self, name: str) -> Plan:
        """One shop, with its access log in a file."""
        port, stem = free_port(), file_name(name)
        log = self.folder / f"{stem}-access.log"
        log.touch()
        command = [*self.command(name, self.redis), "-addr", f"127.0.0.1:{port}", "-access-log", str(log)]
        if name == RECORDING:
            command += ["-record", self.record]
        return Plan(
            name, command, port, "/healthz", self.folder / f"{stem}-output.log", log, {"SHOP_SECRET_KEY": self.secret}
        )

    def command(self, name: str, redis: Redis) -> list[str]:
        """The program with its client, a Redis and the stock script, which is Teahouse's own."""
        script = self.folder / "reserve.lua"
        script.write_text(source("reserve"))
        given = ["-client", CLIENTS[name], "-redis", f"127.0.0.1:{redis.port}", "-script", str(script)]
        return [str(self.binary), *given]

    def stock(self, sale: Mapping[str, Any]) -> None:
        """Empties Redis and opens the sale there, on the terms that Teahouse answered with."""
        self.redis.ask.flushall()
        self.redis.ask.eval(source("open"), 1, f"{prefix(sale['id'])}sale:{sale['id']}", *terms(sale))

    def orders(self, sale: str) -> int:
        """How many orders of the sale Redis holds."""
        return int(self.redis.ask.hlen(f"{prefix(sale)}slots:{sale}"))

    def fill(self, sale: str, count: int, redis: Redis, core: int) -> None:
        """Reserves one unit of the sale, in any Redis that has it, for each of ``count`` new buyers."""
        command = [*self.command(GO_REDIS, redis), "-sale", sale, "-fill", str(count)]
        done = subprocess.run(pinned(core, command), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchFailed(f"the sale could not be filled: {done.stderr.strip()}")


def prefix(sale: str) -> str:
    """What the keys of a sale begin with: its shard is its id's last digit."""
    return f"teahouse:{{{sale[-1]}}}:"


def source(script: str) -> str:
    """One of Teahouse's scripts, as Teahouse sends it."""
    return (LUA / "rows.lua").read_text() + (LUA / f"{script}.lua").read_text()


def terms(sale: Mapping[str, Any]) -> list[str | int]:
    """The arguments of ``open.lua`` from a sale's JSON."""
    return [
        sale["id"],
        sale["productId"],
        sale["stock"],
        sale["price"],
        _milliseconds(sale["startsAt"]),
        _milliseconds(sale["endsAt"]),
        sale["perBuyerLimit"],
        sale["payWithinSeconds"],
        _milliseconds(sale["serverTime"]),
    ]


def _milliseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)
