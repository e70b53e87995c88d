"""The whole of Teahouse on Redis and MariaDB, and the shops beside it: how a scenario gets them running."""

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import shops, teahouse
from bench.access_log import AccessLog
from bench.engines import MariaDB, Redis, mariadb_server, redis_server
from bench.failures import BenchFailed
from bench.figures import Sample
from bench.machine import Cores
from bench.outcome import OURS
from bench.peers.shops import CLIENTS, RECORDING, Site, prefix
from bench.servers import Server, started, wait_for
from bench.shops import Purchases, Shop

REDIS, DATABASE = "Redis", "MariaDB"
OUR_ORDERS, THEIR_ORDERS = "teahouse.orders", "peers.orders"
SLOWEST_RECORDING = 500
"""Orders a second under which waiting for the recorder is given up."""
# A run takes longer than the quarter of an hour that an access token is good for.
DAY = "86400"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the recorder had still to do when the last purchase was answered."""

    orders: int
    selling_seconds: float
    behind_seconds: float
    """From the last answer until the database had every order."""
    server_seconds: float
    """CPU of the server from the first purchase until then."""
    redis_seconds: float
    database_seconds: float


@dataclass(frozen=True, slots=True)
class Books:
    """Where the orders of one server end up: its Redis first, then a table."""

    redis: Redis
    database: MariaDB
    table: str

    def count(self, sale: str) -> int:
        """Orders of the sale in the table."""
        return self.database.count(self.table, _of(sale))

    def wait(self, sale: str, orders: int, new: int) -> None:
        """Returns once the table has so many orders, ``new`` of them new. Raises BenchFailed when it takes too long,
        or there are more.
        """
        patience = 30 + new / SLOWEST_RECORDING
        waiting = f"{prefix(sale)}unrecorded"

        def recorded() -> bool:
            # To count in the database is work for it: only once Redis says that nothing waits.
            return int(self.redis.ask.get(waiting) or 0) == 0 and self.count(sale) >= orders

        if not wait_for(recorded, patience=patience, pause=0.05):
            raise BenchFailed(f"the database did not have all {orders} orders of the sale after {patience:.0f} s")
        if (found := self.count(sale)) != orders:
            raise BenchFailed(f"the database has {found} orders of a sale of which {orders} purchases were accepted")


@dataclass(slots=True)
class Scaled:
    """Our server with its engines, and the peers with theirs. Only one of all servers is asked at a time."""

    server: Server
    shop: Shop
    redis: Redis
    database: MariaDB
    site: Site
    recording: Site
    """Of the one peer that records: its recorder would take what the others' scripts log."""
    peers: list[Server]
    cores: Cores
    recorded: dict[str, list[Recorded]] = field(default_factory=dict)
    """By server, for those that record."""
    _logs: dict[str, AccessLog] = field(default_factory=dict)

    @property
    def servers(self) -> list[Server]:
        """Ours first."""
        return [self.server, *self.peers]

    def ours(self, wanted: Purchases) -> Sample:
        """Our side of one round; returns once the database has every order, so that nobody else is disturbed.

        Raises BenchFailed when an order is missing or the sale's books do not add up.
        """
        sample = self._recorded(self.server, wanted, Books(self.redis, self.database, OUR_ORDERS))
        self._await_books(wanted.sale)
        self.log(self.server).settle(self.server, wanted.count)
        return sample

    def theirs(self, server: Server, wanted: Purchases) -> Sample:
        """A peer's side of one round; the sale must be in its Redis (``stock``)."""
        site = self._site(server)
        before = site.orders(wanted.sale)
        if site is self.recording:
            sample = self._recorded(server, wanted, Books(site.redis, self.database, THEIR_ORDERS))
        else:
            sample = shops.buy(server, wanted, self.cores, {REDIS: site.redis})
        if (orders := site.orders(wanted.sale) - before) != wanted.count:
            raise BenchFailed(f"{server.plan.name} answered {wanted.count} purchases, but Redis holds {orders} orders")
        self.log(server).settle(server, wanted.count)
        return sample

    def forget(self, sale: str) -> None:
        """Takes the orders of a finished sale out of our Redis: the peers begin every round with an empty one too."""
        kept = {f"{prefix(sale)}sale:{sale}", f"{prefix(sale)}log"}
        keys = [key for key in self.redis.ask.scan_iter(f"{prefix(sale)}*", count=1000) if key.decode() not in kept]
        if keys:
            self.redis.ask.unlink(*keys)

    def stock(self, server: Server, sale: Mapping[str, Any]) -> None:
        """Puts the sale that we opened into an emptied Redis of the peer."""
        self._site(server).stock(sale)

    def log(self, server: Server) -> AccessLog:
        """A server's access log. Raises BenchFailed where it writes none."""
        if server.plan.log is None:
            raise BenchFailed(f"{server.plan.name} writes no access log")
        return self._logs.setdefault(server.plan.name, AccessLog(server.plan.log))

    def fill(self, sale: str, count: int) -> None:
        """Reserves one unit of our sale for each of ``count`` new buyers; returns once the database has them."""
        books = Books(self.redis, self.database, OUR_ORDERS)
        known = books.count(sale)
        self.site.fill(sale, count, self.redis, self.cores.load)
        books.wait(sale, known + count, count)

    def _recorded(self, server: Server, wanted: Purchases, books: Books) -> Sample:
        engines = {REDIS: books.redis, DATABASE: books.database}
        before = [each.cpu_seconds() for each in (server, *engines.values())]
        known = books.count(wanted.sale)
        sample = shops.buy(server, wanted, self.cores, engines)
        end = time.monotonic()
        books.wait(wanted.sale, known + wanted.count, wanted.count)
        behind = time.monotonic() - end
        used = [each.cpu_seconds() - was for each, was in zip((server, *engines.values()), before, strict=True)]
        made = Recorded(wanted.count, sample.seconds, behind, *used)
        self.recorded.setdefault(server.plan.name, []).append(made)
        return sample

    def _await_books(self, sale: str) -> None:
        orders = self.database.count(OUR_ORDERS, _of(sale))
        books = {}

        def agree() -> bool:
            books.update(self.shop.books(sale))
            return books["difference"] == 0 and books["orders"] == orders

        if not wait_for(agree, patience=10, pause=0.5):
            raise BenchFailed(f"the database has {orders} orders of the sale, but the books say {books}")

    def _site(self, server: Server) -> Site:
        return self.recording if server.plan.name == RECORDING else self.site


@contextmanager
def running(folder: Path, cores: Cores, binary: Path, names: Sequence[str] = tuple(CLIENTS)) -> Iterator[Scaled]:
    """Starts the engines, our server, and the peers of these names."""
    secret = secrets.token_hex(32)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        ours, theirs, recording = (
            stack.enter_context(redis_server(folder / name, core=cores.load))
            for name in ("redis", "peers-redis", "recording-redis")
        )
        database = stack.enter_context(mariadb_server(folder / "mariadb", core=cores.load))
        environment = {
            "TEAHOUSE_REDIS__URL": ours.url,
            "TEAHOUSE_DATABASE__URL": database.url,
            "TEAHOUSE_SECRET_KEY": secret,
            "TEAHOUSE_ACCOUNTS__ACCESS_TOKEN_SECONDS": DAY,
            "TEAHOUSE_ACCOUNTS__SESSION_IDLE_SECONDS": DAY,
        }
        teahouse.migrate(folder, environment)
        # The very table, indexes and all.
        database.query(f"CREATE DATABASE peers; CREATE TABLE {THEIR_ORDERS} LIKE {OUR_ORDERS}")
        server = stack.enter_context(started(teahouse.on_engines(OURS, folder, environment), core=cores.server))
        shop = shops.opened(server, folder, environment)
        site = Site(binary, theirs, secret, folder)
        source = f"teahouse@tcp(127.0.0.1:{database.port})/peers?interpolateParams=true"
        scaled = Scaled(server, shop, ours, database, site, Site(binary, recording, secret, folder, source), [], cores)
        for name in names:
            plan = (scaled.recording if name == RECORDING else site).plan(name)
            scaled.peers.append(stack.enter_context(started(plan, core=cores.server)))
        yield scaled


def _of(sale: str) -> str:
    return f"sale_id = '{sale}'"
