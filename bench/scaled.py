"""The whole of Teahouse on Redis and MariaDB, and the shops beside it: how a scenario gets them running."""

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import shops, teahouse
from bench.access_log import AccessLog
from bench.engines import MariaDB, Redis, mariadb_server, redis_server
from bench.failures import BenchFailed
from bench.figures import Sample
from bench.machine import Cores
from bench.outcome import OURS
from bench.peers.shops import CLIENTS, Site, prefix
from bench.servers import Server, started, wait_for
from bench.shops import Purchases, Shop

REDIS, DATABASE = "Redis", "MariaDB"
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


@dataclass(slots=True)
class Scaled:
    """Our server with its engines, and the peers with theirs. Only one of all servers is asked at a time."""

    server: Server
    shop: Shop
    redis: Redis
    database: MariaDB
    site: Site
    peers: list[Server]
    cores: Cores
    recorded: list[Recorded] = field(default_factory=list)
    _logs: dict[str, AccessLog] = field(default_factory=dict)

    @property
    def servers(self) -> list[Server]:
        """Ours first."""
        return [self.server, *self.peers]

    def ours(self, wanted: Purchases) -> Sample:
        """Our side of one round; returns once the database has every order, so that nobody else is disturbed.

        Raises BenchFailed when an order is missing or the sale's books do not add up.
        """
        engines = {REDIS: self.redis, DATABASE: self.database}
        before = [each.cpu_seconds() for each in (self.server, *engines.values())]
        known = self.database.count("orders", _of(wanted.sale))
        sample = shops.buy(self.server, wanted, self.cores, engines)
        end = time.monotonic()
        self._await_orders(wanted.sale, known + wanted.count, wanted.count)
        behind = time.monotonic() - end
        used = [each.cpu_seconds() - was for each, was in zip((self.server, *engines.values()), before, strict=True)]
        self._await_books(wanted.sale, known + wanted.count)
        self.recorded.append(Recorded(wanted.count, sample.seconds, behind, *used))
        self.log(self.server).settle(self.server, wanted.count)
        return sample

    def theirs(self, server: Server, wanted: Purchases) -> Sample:
        """A peer's side of one round; the sale must be in its Redis (``Site.stock``)."""
        before = self.site.orders(wanted.sale)
        sample = shops.buy(server, wanted, self.cores, {REDIS: self.site.redis})
        if (orders := self.site.orders(wanted.sale) - before) != wanted.count:
            raise BenchFailed(f"{server.plan.name} answered {wanted.count} purchases, but Redis holds {orders} orders")
        self.log(server).settle(server, wanted.count)
        return sample

    def log(self, server: Server) -> AccessLog:
        """A server's access log. Raises BenchFailed where it writes none."""
        if server.plan.log is None:
            raise BenchFailed(f"{server.plan.name} writes no access log")
        return self._logs.setdefault(server.plan.name, AccessLog(server.plan.log))

    def fill(self, sale: str, count: int) -> None:
        """Reserves one unit of our sale for each of ``count`` new buyers; returns once the database has them."""
        known = self.database.count("orders", _of(sale))
        self.site.fill(sale, count, self.redis, self.cores.load)
        self._await_orders(sale, known + count, count)

    def _await_orders(self, sale: str, orders: int, new: int) -> None:
        patience = 30 + new / SLOWEST_RECORDING
        waiting = f"{prefix(sale)}unrecorded"

        def recorded() -> bool:
            # To count in the database is work for it: only once Redis says that nothing waits.
            return int(self.redis.ask.get(waiting) or 0) == 0 and self.database.count("orders", _of(sale)) >= orders

        if not wait_for(recorded, patience=patience, pause=0.05):
            raise BenchFailed(f"the database did not have all {orders} orders of the sale after {patience:.0f} s")

    def _await_books(self, sale: str, orders: int) -> None:
        books = {}

        def agree() -> bool:
            books.update(self.shop.books(sale))
            return books["difference"] == 0 and books["orders"] == orders

        if not wait_for(agree, patience=10, pause=0.5):
            raise BenchFailed(f"{orders} purchases were accepted, but the books say {books}")


@contextmanager
def running(
    folder: Path, cores: Cores, binary: Path, clients: Sequence[str] = tuple(CLIENTS), **redis: str
) -> Iterator[Scaled]:
    """Starts the engines, our server, and a peer for each name in ``clients``. ``redis`` are settings of both Redis."""
    secret = secrets.token_hex(32)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        ours = stack.enter_context(redis_server(folder / "redis", core=cores.load, **redis))
        theirs = stack.enter_context(redis_server(folder / "peers-redis", core=cores.load, **redis))
        database = stack.enter_context(mariadb_server(folder / "mariadb", core=cores.load))
        environment = {
            "TEAHOUSE_REDIS__URL": ours.url,
            "TEAHOUSE_DATABASE__URL": database.url,
            "TEAHOUSE_SECRET_KEY": secret,
            "TEAHOUSE_ACCOUNTS__ACCESS_TOKEN_SECONDS": DAY,
            "TEAHOUSE_ACCOUNTS__SESSION_IDLE_SECONDS": DAY,
        }
        teahouse.migrate(folder, environment)
        server = stack.enter_context(started(teahouse.on_engines(OURS, folder, environment), core=cores.server))
        shop = shops.opened(server, folder, environment)
        site = Site(binary, theirs, secret, folder)
        peers = [stack.enter_context(started(site.plan(name, CLIENTS[name]), core=cores.server)) for name in clients]
        yield Scaled(server, shop, ours, database, site, peers, cores)


def _of(sale: str) -> str:
    return f"sale_id = '{sale}'"
