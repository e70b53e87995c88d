"""The one composition root: settings → engines → features → routes. Only this file knows which backend was chosen."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from teahouse import __version__, accounts, datadir, messages, migrations
from teahouse.accounts import Accounts, User
from teahouse.accounts.accounts_sql import accounts_on
from teahouse.accounts.housekeeping import Sweep
from teahouse.accounts.throttle_memory import ThrottleMemory
from teahouse.accounts.users_cached import UsersCached, weigh_user
from teahouse.accounts.users_sql import UsersSql
from teahouse.batching import Batcher
from teahouse.caching import Cache, SharedLayer, Times
from teahouse.caching.metrics_prometheus import CacheCollector
from teahouse.clock import Clock
from teahouse.engines.sql import Database, database_on
from teahouse.files import Files, UploadLimits
from teahouse.files import routes as files_routes
from teahouse.files.storage_local import LocalStorage
from teahouse.files.store_sql import SqlUploadStore
from teahouse.insight.metrics_prometheus import RedisCollector, SaleFigures, SalesCollector
from teahouse.messages.assembling import WireLimits
from teahouse.messages.bus import Bus
from teahouse.messages.bus_memory import MemoryBus
from teahouse.messages.frames import encode_system
from teahouse.messages.gateway import Gateway, GatewaySettings
from teahouse.messages.hub import Hub
from teahouse.messages.metrics_prometheus import MessagesCollector
from teahouse.messages.presence import Presence
from teahouse.messages.presence_memory import MemoryPresence
from teahouse.messages.service import Messages
from teahouse.messages.socket import Pace
from teahouse.messages.store_sql import SqlMessageStore
from teahouse.sales import OrderEvent, Product, SalesService, StockLedger, routes
from teahouse.sales.catalogue_cached import CatalogueCached, weigh_product
from teahouse.sales.catalogue_sql import SqlCatalogue
from teahouse.sales.orders_sql import SqlOrders
from teahouse.sales.stock_sql import SqlStockLedger
from teahouse.settings import Settings, check, wechat_mode
from teahouse.web import App
from teahouse.web.metrics import BatchCollector
from teahouse.wechat import WechatPlatform
from teahouse.wechat.routes import install_sandbox
from teahouse.wechat.sandbox import SandboxWechat
from teahouse.wechat.sandbox_codes_sql import SandboxCodesSql

if TYPE_CHECKING:
    from teahouse.engines.redis import Redis
    from teahouse.engines.redis_feed import Feed
    from teahouse.sales.archive_sql import SqlArchive
    from teahouse.sales.stock_redis import RedisStockLedger

_DESCRIPTION = "Login, a shop that survives a flash sale, and the figures to watch it: the backend of a mini-program."

# Thousands of orders in one reply.
_BULK_SECONDS = 10.0
_CACHE_BYTES, _CACHE_BYTES_EMBEDDED = 8 << 20, 3 << 20


class Carried(NamedTuple):
    """How messages get from one worker to another, and who is there."""

    bus: Bus
    presence: Presence


class Teahouse(App):
    """Every feature, installed by ``compose``; add routes of your own as to any ``App``.

    ``clock`` and ``platform`` stand in for the system's time and for WeChat; tests pass their own.
    """

    def __init__(
        self, *, title: str = "Teahouse", clock: Clock | None = None, platform: WechatPlatform | None = None
    ) -> None:
        super().__init__(title=title, version=__version__, description=_DESCRIPTION)
        self._clock = clock or Clock()
        self._platform = platform
        self._batchers: list[Batcher[Any, Any]] = []
        self._node_id = secrets.token_hex(8)
        self._caches: list[Cache[Any]] = []

    def compose(self, settings: Settings) -> None:
        """Puts the parts together; opens nothing until the start. Raises ``SettingsError``."""
        check(settings)
        database = database_on(settings)
        self._open(database)
        platform, sweeps = self._choose_platform(settings, database)
        if settings.redis.url:
            people, shop, carried = self._on_redis(settings, database, platform, sweeps)
        else:
            people, shop, carried = self._embedded(settings, database, platform, sweeps)
        self.on_start(people.start)
        self.on_stop(people.aclose)
        accounts.install(self, people)
        self.on_start(shop.start)
        self.on_stop(shop.stop)
        sandbox = platform if isinstance(platform, SandboxWechat) else None
        routes.install(self, shop, clock=self._clock, sandbox=sandbox is not None, defaults=settings.sales)
        if sandbox is not None:
            install_sandbox(self, sandbox)
        self._install_messages(settings, database, people, shop, carried)
        if not settings.redis.url:
            # Who writes an upload is known to one process so far.
            self._install_files(settings, database)
        self.metrics.register(BatchCollector([*self._batchers, *people.sessions.batchers]))
        self.metrics.register(CacheCollector(self._caches))
        ledger = shop.ledger
        self.metrics.register(
            SalesCollector(lambda: ledger.outcomes, lambda: ledger.live, lambda limit: _figures(ledger, limit))
        )

    def _embedded(
        self, settings: Settings, database: Database, platform: WechatPlatform, sweeps: Sequence[Sweep]
    ) -> tuple[Accounts, SalesService, Carried]:
        """One process decides, and SQL is all there is."""
        clock = self._clock
        users, catalogue = self._cached(settings, database, None)
        people = accounts_on(
            database,
            platform,
            datadir.signing_keys(settings),
            settings.accounts,
            throttle=ThrottleMemory(clock=clock),
            clock=clock,
            sweeps=sweeps,
            users=users,
        )
        ledger = SqlStockLedger(database, clock=clock, max_waiting=settings.sales.max_waiting)
        self._batchers.append(ledger.batcher)
        shop = SalesService(catalogue=catalogue, orders=SqlOrders(database), ledger=ledger, clock=clock)
        return people, shop, Carried(MemoryBus(), MemoryPresence())

    def _on_redis(
        self, settings: Settings, database: Database, platform: WechatPlatform, sweeps: Sequence[Sweep]
    ) -> tuple[Accounts, SalesService, Carried]:
        """Many processes: Redis decides and keeps sessions, SQL has everything for good."""
        # The embedded default need not pay for loading these.
        from teahouse.accounts.accounts_redis import accounts_on_redis
        from teahouse.caching.shared_redis import RedisCache
        from teahouse.messages.bus_redis import RedisBus
        from teahouse.messages.presence_redis import RedisPresence
        from teahouse.sales.archive_sql import SqlArchive
        from teahouse.sales.orders_redis import RedisOrders

        clock, archive = self._clock, SqlArchive(database)
        redis, bulk, feed = self._redis_engines(settings)
        users, catalogue = self._cached(
            settings, database, lambda kind, name: RedisCache(redis, feed, kind, name=name, clock=clock)
        )
        people = accounts_on_redis(
            redis,
            feed,
            users,
            platform,
            datadir.signing_keys(settings),
            settings.accounts,
            clock=clock,
            sweeps=sweeps,
            used_before=archive.is_above_sql,
        )
        ledger = self._ledger_on_redis(settings, redis, feed, archive, bulk)
        orders = RedisOrders(redis, ledger.scripts, archive)
        shop = SalesService(catalogue=catalogue, orders=orders, ledger=ledger, clock=clock)
        return people, shop, Carried(RedisBus(redis), RedisPresence(redis, node=self._node_id))

    def _redis_engines(self, settings: Settings) -> tuple[Redis, Redis, Feed]:
        """Redis for whoever waits, Redis for the recorder, and what all nodes tell each other."""
        from teahouse.engines.redis import Redis
        from teahouse.engines.redis_feed import Feed

        url, patience = settings.redis.url.reveal(), settings.redis.timeout_seconds
        redis = Redis(url, timeout_seconds=patience)
        # What the recorder reads is long: it must not hold up who buys.
        bulk = Redis(url, name="redis for the recorder", timeout_seconds=max(patience, _BULK_SECONDS))
        feed = Feed(redis)
        for engine in (redis, bulk):
            self.on_start(engine.connect)
            self.on_stop(engine.aclose)
        self.on_start(feed.start)
        self.on_stop(feed.aclose)
        self.ready_check("redis", redis.ping)
        self.metrics.register(RedisCollector(redis, feed))
        self._batchers += [redis.batcher, bulk.batcher]
        return redis, bulk, feed

    def _ledger_on_redis(
        self, settings: Settings, redis: Redis, feed: Feed, archive: SqlArchive, recording: Redis
    ) -> RedisStockLedger:
        from teahouse.sales.metrics_prometheus import RecorderCollector
        from teahouse.sales.stock_redis import RedisStockLedger

        ledger = RedisStockLedger(
            redis,
            feed,
            archive,
            recording=recording,
            data_dir=settings.data_dir,
            clock=self._clock,
            worker=secrets.token_hex(8),
            max_waiting=settings.sales.max_waiting,
            max_unrecorded=settings.sales.max_unrecorded,
            recorded_per_second=settings.sales.recorded_per_second,
        )
        self._batchers += ledger.batchers
        self._caches.append(ledger.cache)
        backlog = ledger.backlog
        self.metrics.register(
            RecorderCollector(ledger.recorder, lambda: backlog.waiting, lambda: backlog.oldest_seconds)
        )
        return ledger

    def _install_messages(
        self, settings: Settings, database: Database, people: Accounts, shop: SalesService, carried: Carried
    ) -> None:
        """Rooms and sockets; buyers hear of their orders over these."""
        limits, store = settings.messages, SqlMessageStore(database)
        hub = Hub(
            store,
            carried.bus,
            sockets_per_user=limits.sockets_per_user,
            followed=limits.conversations_per_user,
            presence=carried.presence,
        )
        service = Messages(
            store,
            hub,
            clock=self._clock,
            max_waiting=limits.max_waiting,
            sync_messages=limits.sync_messages,
            room_members=limits.room_members,
            rooms_per_user=limits.rooms_per_user,
        )
        self._batchers += [service.batcher, service.reads, service.roles, service.acquainted]
        self.on_start(service.start)
        self.on_stop(service.aclose)
        messages.install(self, service)
        shop.ledger.listeners.append(lambda event: hub.tell(event.reservation.buyer_id, _told_of_order(event)))
        gateway = self.realtime = Gateway(
            hub,
            service,
            people.authentication,
            node_id=self._node_id,
            clock=self._clock,
            settings=_gateway_settings(settings),
            beside=lambda: self.server,
        )
        self.metrics.register(MessagesCollector(gateway, hub, carried.bus))

    def _install_files(self, settings: Settings, database: Database) -> None:
        """Uploads and files in the data directory."""
        wanted = settings.files
        storage = LocalStorage(settings.data_dir / "files", durable=wanted.durable)
        service = Files(
            SqlUploadStore(database),
            storage,
            UploadLimits(wanted.max_bytes, wanted.quota_bytes, wanted.total_bytes, wanted.expire_seconds),
            clock=self._clock,
        )
        self._batchers += [storage.batcher, service.batcher]
        self.on_start(service.start)
        self.on_stop(service.aclose)
        files_routes.install(self, service, storage)

    def _cached(
        self, settings: Settings, database: Database, shared: Callable[[type[Any], str], SharedLayer[Any]] | None
    ) -> tuple[UsersCached, CatalogueCached]:
        """Users and products in SQL, behind caches; ``shared`` makes the layer that all nodes have in common."""
        times = Times(changing_seconds=10.0 + settings.database.replica_lag_seconds)
        in_sql, offers, clock = UsersSql(database), SqlCatalogue(database), self._clock
        # The embedded default stays under 90 MB in all.
        most = _CACHE_BYTES if shared else _CACHE_BYTES_EMBEDDED
        users: Cache[User] = Cache(
            in_sql.load,
            name="user",
            clock=clock,
            shared=shared and shared(User, "user"),
            times=times,
            max_weight=most,
            weigh=weigh_user,
        )
        products: Cache[Product] = Cache(
            offers.load,
            name="product",
            clock=clock,
            shared=shared and shared(Product, "product"),
            times=times,
            max_weight=most,
            weigh=weigh_product,
        )
        for cache in (users, products):
            self.on_stop(cache.aclose)
        self._batchers += [users.batcher, products.batcher]
        self._caches += [users, products]
        return UsersCached(in_sql, users), CatalogueCached(offers, products)

    def _open(self, database: Database) -> None:
        async def start() -> None:
            await database.connect()
            await migrations.upgrade(database)

        self.on_start(start)
        self.on_stop(database.aclose)
        self.ready_check("database", database.ping)

    def _choose_platform(self, settings: Settings, database: Database) -> tuple[WechatPlatform, tuple[Sweep, ...]]:
        """Who answers logins, and what has to be swept for it."""
        if self._platform is not None:
            return self._platform, ()
        if wechat_mode(settings) == "sandbox":
            sandbox = SandboxWechat(SandboxCodesSql(database), clock=self._clock)
            self.on_stop(sandbox.aclose)
            return sandbox, (sandbox.sweep,)
        # A client for outgoing HTTP costs a tenth of a second at start and 10 MB, which the sandbox need not pay.
        from teahouse.wechat.client_httpx import HttpxWechat

        wechat = settings.wechat
        client = HttpxWechat(
            wechat.appid, wechat.secret, base_url=wechat.base_url, timeout_seconds=wechat.timeout_seconds
        )
        self.on_stop(client.aclose)
        return client, ()


def _gateway_settings(settings: Settings) -> GatewaySettings:
    limits, http = settings.messages, settings.http
    return GatewaySettings(
        connections=limits.connections,
        heartbeat_seconds=round(limits.heartbeat_seconds) or 1,
        restart_seconds=limits.restart_seconds,
        origins=settings.cors.origins,
        pace=Pace(limits.frames_per_second, limits.frames_burst),
        wire=WireLimits(
            message_bytes=limits.frame_bytes,
            unsent_bytes=limits.unsent_bytes,
            head_bytes=http.head_bytes,
            head_seconds=http.head_seconds,
        ),
    )


def _told_of_order(event: OrderEvent) -> bytes:
    made = event.reservation
    data = {
        "orderId": made.id,
        "saleId": made.sale_id,
        "quantity": made.quantity,
        "amount": made.amount,
        "status": event.status,
    }
    return encode_system(f"order-{event.status}", data)


def _figures(ledger: StockLedger, limit: int) -> Iterator[SaleFigures]:
    for each in ledger.known(limit):
        yield SaleFigures(each.sale.id, each.remaining, each.sale.stock - each.remaining)
