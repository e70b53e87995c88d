"""The one composition root: settings → engines → features → routes. Only this file knows which backend was chosen."""

from __future__ import annotations

from collections.abc import Iterator

from teahouse import __version__, accounts, datadir, migrations
from teahouse.accounts.accounts_sql import accounts_on
from teahouse.accounts.housekeeping import Sweep
from teahouse.accounts.throttle_memory import ThrottleMemory
from teahouse.clock import Clock
from teahouse.engines.sql import Database, database_on
from teahouse.insight.metrics_prometheus import SaleFigures, SalesCollector
from teahouse.sales import SalesService, routes
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

_DESCRIPTION = "Login, a shop that survives a flash sale, and the figures to watch it: the backend of a mini-program."


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

    def compose(self, settings: Settings) -> None:
        """Puts the parts together; opens nothing until the start. Raises ``SettingsError``."""
        check(settings)
        clock = self._clock
        database = database_on(settings)
        self._open(database)
        platform, sweeps = self._choose_platform(settings, database)
        people = accounts_on(
            database,
            platform,
            datadir.signing_keys(settings),
            settings.accounts,
            throttle=ThrottleMemory(clock=clock),
            clock=clock,
            sweeps=sweeps,
        )
        self.on_start(people.start)
        self.on_stop(people.aclose)
        accounts.install(self, people)

        ledger = SqlStockLedger(database, clock=clock, max_waiting=settings.sales.max_waiting)
        shop = SalesService(catalogue=SqlCatalogue(database), orders=SqlOrders(database), ledger=ledger, clock=clock)
        self.on_start(shop.start)
        self.on_stop(shop.stop)
        sandbox = platform if isinstance(platform, SandboxWechat) else None
        routes.install(self, shop, clock=clock, sandbox=sandbox is not None, defaults=settings.sales)
        if sandbox is not None:
            install_sandbox(self, sandbox)

        self.metrics.register(BatchCollector([ledger.batcher, *people.sessions.batchers]))
        self.metrics.register(
            SalesCollector(lambda: ledger.outcomes, lambda: ledger.live, lambda limit: _figures(ledger, limit))
        )

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


def _figures(ledger: SqlStockLedger, limit: int) -> Iterator[SaleFigures]:
    for each in ledger.sales(before=None, limit=limit):
        yield SaleFigures(each.sale.id, each.remaining, each.sale.stock - each.remaining)
