"""A shop that is open at a running Teahouse, and the buyers who come for its sales."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench import load, teahouse
from bench.api import Api
from bench.failures import BenchFailed
from bench.figures import Sample
from bench.machine import Cores
from bench.rounds import measure
from bench.servers import Processes, Server

BUYERS = 2_000
SLOWEST = 500
"""Purchases a second under which a round is given up."""
PRICE = 1900


@dataclass(frozen=True, slots=True)
class Purchases:
    """So many purchases of one sale, each with a key of its own."""

    sale: str
    tokens: Path
    count: int
    connections: int
    prefix: str
    """Of the keys; two rounds of one sale need different ones."""


@dataclass(frozen=True, slots=True)
class Shop:
    """An administrator, a product, and a file with a token a line, one for each buyer."""

    admin: Api
    product: str
    tokens: Path

    @property
    def token(self) -> str:
        """The first buyer's."""
        with self.tokens.open() as lines:
            return lines.readline().strip()

    def sell(self, stock: int, *, limit: int | None = None) -> dict[str, Any]:
        """Opens a sale for a day and returns it; without a limit one buyer may have all of it."""
        now = datetime.now(UTC)
        terms = {
            "productId": self.product,
            "stock": stock,
            "price": PRICE,
            "startsAt": _wire(now - timedelta(minutes=1)),
            "endsAt": _wire(now + timedelta(days=1)),
            "perBuyerLimit": limit or stock,
            "payWithinSeconds": 86_400,
        }
        return self.admin.post("/v1/sales", terms)

    def purchases(self, sale: str, count: int, *, connections: int, prefix: str) -> Purchases:
        """What ``buy`` is to send."""
        return Purchases(sale, self.tokens, count, connections, prefix)

    def books(self, sale: str) -> dict[str, Any]:
        """The sale's reconciliation."""
        return self.admin.get(f"/v1/sales/{sale}/reconciliation")


def opened(server: Server, folder: Path, environment: Mapping[str, str] | None = None) -> Shop:
    """Makes the administrator, the product and the buyers. ``environment`` is the server's, for the command line."""
    password = secrets.token_urlsafe(18)
    teahouse.create_admin(folder, "bench", password, environment)
    api = Api(server.plan.port)
    signed_in = api.post("/v1/auth/password", {"username": "bench", "password": password})
    admin = api.signed_in(signed_in["accessToken"])
    product = admin.post("/v1/products", {"name": "Tea", "description": "Green", "images": [], "price": 9900})
    return Shop(admin, product["id"], _tokens(api, folder / "tokens.txt"))


def buy(server: Server, wanted: Purchases, cores: Cores, engines: Mapping[str, Processes] | None = None) -> Sample:
    """Sends the purchases. Raises BenchFailed unless each of them was accepted."""
    sending = load.Load(
        url=server.url,
        connections=wanted.connections,
        seconds=max(10.0, wanted.count / SLOWEST),
        script="purchases.lua",
        arguments=(
            str(wanted.tokens),
            f"/v1/sales/{wanted.sale}/purchases",
            wanted.prefix,
            str(wanted.count),
            str(wanted.connections),
        ),
    )
    sample = measure(server, sending, cores, engines)
    if sample.requests != wanted.count:
        raise BenchFailed(f"{sample.requests} of {wanted.count} purchases were answered")
    return sample


def _tokens(api: Api, file: Path) -> Path:
    with file.open("w") as tokens:
        for number in range(BUYERS):
            code = f"sandbox-bench{number}-{secrets.token_hex(6)}"
            tokens.write(api.post("/v1/auth/wechat", {"code": code})["accessToken"] + "\n")
    return file


def _wire(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
