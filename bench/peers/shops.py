"""The shop that Go programmers would write: how to start it, and how its Redis comes to a sale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.engines import Redis
from bench.machine import pinned
from bench.servers import Plan, file_name, free_port

LUA = Path(__file__).resolve().parents[2] / "src" / "teahouse" / "sales" / "lua"
PREFIX = "teahouse:{0}:"
"""As in peers/shop/shop.go."""
GO_REDIS = "Gin + go-redis"
AUTOPIPELINE = "Gin + go-redis, autopipeline"
RUEIDIS = "Gin + rueidis"
CLIENTS = {GO_REDIS: "go-redis", AUTOPIPELINE: "go-redis-autopipeline", RUEIDIS: "rueidis"}


@dataclass(frozen=True, slots=True)
class Site:
    """What every shop of a run shares: the program, the stock script, the Redis server and the key of the tokens."""

    binary: Path
    redis: Redis
    secret: str
    folder: Path

    def plan(self, name: str, client: str) -> Plan:
        """One shop, with its access log in a file."""
        port, stem = free_port(), file_name(name)
        log = self.folder / f"{stem}-access.log"
        log.touch()
        command = [*self.command(client), "-addr", f"127.0.0.1:{port}", "-access-log", str(log)]
        return Plan(
            name, command, port, "/healthz", self.folder / f"{stem}-output.log", log, {"SHOP_SECRET_KEY": self.secret}
        )

    def command(self, client: str) -> list[str]:
        """The program with its Redis and the stock script, which is Teahouse's own."""
        script = self.folder / "reserve.lua"
        script.write_text(source("reserve"))
        redis = f"127.0.0.1:{self.redis.port}"
        return [str(self.binary), "-client", client, "-redis", redis, "-script", str(script)]

    def stock(self, sale: Mapping[str, Any]) -> None:
        """Empties Redis and opens the sale there, on the terms that Teahouse answered with."""
        self.redis.ask.flushall()
        self.redis.ask.eval(source("open"), 1, f"{PREFIX}sale:{sale['id']}", *terms(sale))

    def orders(self) -> int:
        """How many orders Redis holds."""
        return int(self.redis.ask.hlen(f"{PREFIX}orders"))


def fill_command(command: Sequence[str], sale: str, count: int, core: int) -> list[str]:
    """Reserves one unit of the sale for each of ``count`` new buyers."""
    return pinned(core, [*command, "-sale", sale, "-fill", str(count)])


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
