"""The stock ledger on SQL: one process decides in memory and writes each batch in one transaction.

SQL is the truth. Memory is rebuilt from it at start, and whenever it might differ.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from teahouse.batching import Batcher, failed
from teahouse.clock import Clock
from teahouse.engines.sql import Database
from teahouse.problems import DatabaseUnavailable, IdempotencyMismatch, NotFound, OutcomeUnknown, Problem, SaleEnded
from teahouse.sales.batch_sql import Batch, Overtaken
from teahouse.sales.decisions import Command, Decisions, Known
from teahouse.sales.model import (
    RESERVED,
    Cancel,
    Expire,
    OnSale,
    Open,
    Order,
    OrderEvent,
    Payment,
    Reservation,
    Reserve,
    Restock,
    Sale,
    Settle,
    Tally,
)
from teahouse.sales.orders_sql import SqlOrders, placed_rows, read_held, read_orders, stream_orders
from teahouse.sales.payments_sql import payment_rows, read_payments
from teahouse.sales.reconciliation import Audit
from teahouse.sales.reconciliation_sql import examine
from teahouse.sales.sales_sql import (
    read_batch,
    read_keeper,
    read_sales,
    sale_row,
    tally_row,
    write_first_batch,
)
from teahouse.sales.stock import Book, SaleStock
from teahouse.settings import SettingsError

EXPIRE_AT_ONCE = 500
# While the database is away callers are told so at once, instead of each batch waiting for its own time-out.
_PAUSE_SECONDS = 1.0

_log = logging.getLogger(__name__)


class SqlStockLedger:
    """Decides purchases and everything else that moves stock, one batch after the other.

    Atomic: window, limit per buyer, stock, request id and reservation are decided together, in the order in which
    calls came, and a result is handed out only when its batch is on disk. One process serialises; a second one on the
    same database is noticed by the batch's signature, refused, and memory is read again.

    ``DatabaseUnavailable``: nothing was changed. ``OutcomeUnknown``: it may have been; the same key asked again gets
    the true answer. Retries are remembered with their orders as long as SQL keeps them; refusals are remembered in
    bounded memory, per sale, and not over a restart. Memory: about 0.6 KB per order of a sale that has not ended,
    1 KB per ended sale.
    """

    def __init__(self, database: Database, *, clock: Clock, max_waiting: int = 10_000) -> None:
        self.outcomes: Counter[str] = Counter()
        self.listeners: list[Callable[[OrderEvent], None]] = []
        self.batcher: Batcher[Command, Any] = Batcher(self._flush, name="stock", max_waiting=max_waiting)
        self._recalls: Batcher[Reserve, Reservation | None] = Batcher(self._recall, name="earlier purchases")
        self._database = database
        self._orders = SqlOrders(database)
        self._clock = clock
        self._book = Book()
        self._turn = asyncio.Lock()
        self._batch = ""
        self._doubt: Decisions | None = None
        self._stale = True
        self._resume_at = clock.monotonic()

    # --- life ---

    async def start(self) -> None:
        """Rebuilds memory from SQL. Raises ``DatabaseUnavailable``, and ``SettingsError`` where Redis decides."""
        async with self._turn:
            await self._database.write(partial(write_first_batch, name=self._clock.new_id()))
            await self._require_keeper()
            await self._load()

    async def aclose(self) -> None:
        """Finishes what was accepted, and takes no more."""
        await self.batcher.aclose()
        await self._recalls.aclose()

    # --- verbs ---

    def reserve(self, sale_id: str, buyer_id: str, key: str, quantity: int) -> Awaitable[Reservation]:
        """One purchase. The same key and quantity: the same reservation.

        Raises ``NotFound``, ``SoldOut``, ``LimitReached``, ``SaleNotStarted``, ``SaleEnded``, ``IdempotencyMismatch``.
        """
        ask = Reserve(sale_id, buyer_id, key, quantity)
        try:
            stock = self._stock(sale_id)
            if stock.closed and self._clock.now_ms() < stock.sale.ends_at:
                # The clock was ahead when the sale was closed: what it forgot is read again.
                self._stale = True
            if stock.closed and not self._stale:
                return self._earlier(ask)
            return self.batcher.submit(ask)
        except Problem as problem:
            return failed(problem)

    async def _earlier(self, ask: Reserve) -> Reservation:
        """The purchase that was made under this key while the sale was on."""
        earlier = await self._recalls.submit(ask)
        if earlier is None:
            raise SaleEnded
        if earlier.quantity != ask.quantity:
            raise IdempotencyMismatch
        return earlier

    async def cancel(self, order_id: str, buyer_id: str) -> Order:
        """Gives the reservation back, once. Raises ``NotFound`` and ``OrderNotCancellable``."""
        order: Order = await self.batcher.submit(Cancel(order_id, buyer_id))
        return order

    async def settle(self, order_id: str, amount: int, transaction_id: str) -> Payment:
        """Records money that arrived; the same transaction is one payment. Raises ``TransactionReused``.

        It settles the order, also a lapsed one while stock lasts and the buyer's limit allows it; else its state is
        ``refund-due``.
        """
        payment: Payment = await self.batcher.submit(Settle(order_id, amount, transaction_id))
        return payment

    async def expire_due(self) -> int:
        """Returns every reservation whose time to pay is over to stock; how many these were."""
        total, expired = 0, 1
        while expired and (due := self._book.next_due()) is not None and due <= self._clock.now_ms():
            expired = await self.batcher.submit(Expire(EXPIRE_AT_ONCE))
            total += expired
        self._book.tidy(self._clock.now_ms())
        return total

    async def open(self, sale: Sale) -> None:
        """A new sale, all of its stock remaining."""
        await self.batcher.submit(Open(sale))

    async def restock(self, sale_id: str, stock: int) -> None:
        """The sale's stock as a whole becomes ``stock``. Raises ``NotFound`` and ``StockNotReducible``."""
        self._stock(sale_id)
        await self.batcher.submit(Restock(sale_id, stock))

    # --- what readers see ---

    @property
    def live(self) -> int:
        """How many reservations wait for their payment."""
        return len(self._book.live)

    def shown(self, sale_id: str) -> OnSale:
        """One sale as the last durable batch left it. Raises ``NotFound``."""
        return self._stock(sale_id).on_sale()

    async def sale(self, sale_id: str) -> OnSale:
        """The same."""
        return self.shown(sale_id)

    async def sales(self, *, before: str | None, limit: int) -> list[OnSale]:
        """Up to ``limit`` sales, newest first, older than the sale ``before``."""
        ids = sorted((sale_id for sale_id in self._book.sales if before is None or sale_id < before), reverse=True)
        return [self._book.sales[sale_id].on_sale() for sale_id in ids[:limit]]

    def known(self, limit: int) -> list[OnSale]:
        """Up to ``limit`` of the newest sales."""
        return [self._book.sales[sale_id].on_sale() for sale_id in sorted(self._book.sales)[-limit:]]

    async def audit(self, sale_id: str) -> Audit:
        """Compares memory, counters, orders and payments of one moment. Raises ``NotFound``."""
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(self._database.reading())
            async with self._turn:
                await self._know()
                memory = self._stock(sale_id).tally
                # The first statement pins the moment that the connection sees: between two batches.
                await read_batch(connection)
            return await examine(connection, sale_id, memory)

    # --- one batch ---

    async def _flush(self, commands: list[Command]) -> Sequence[Any]:
        results = await self._decide(commands)
        # Purchases of a sale that was closed meanwhile.
        late = {
            place: command
            for place, (command, result) in enumerate(zip(commands, results, strict=True))
            if result is None and isinstance(command, Reserve)
        }
        found = await asyncio.gather(*(self._earlier(ask) for ask in late.values()), return_exceptions=True)
        for place, earlier in zip(late, found, strict=True):
            results[place] = earlier
        return results

    async def _decide(self, commands: list[Command]) -> list[Any]:
        async with self._turn:
            if self._clock.monotonic() < self._resume_at:
                return [DatabaseUnavailable() for _ in commands]
            try:
                await self._know()
                known = await self._look_up(commands)
            except DatabaseUnavailable:
                self._pause()
                return [DatabaseUnavailable() for _ in commands]
            decisions = Decisions(self._book, known, self._clock)
            results = decisions.take(commands)
            problem = await self._make_durable(decisions)
            return results if problem is None else [problem() for _ in commands]

    async def _look_up(self, commands: Sequence[Command]) -> Known:
        """What SQL knows of the orders that are no longer live and of the transactions that were seen before."""
        live = self._book.live
        settles = [command for command in commands if type(command) is Settle]
        ids = {
            command.order_id
            for command in commands
            if isinstance(command, Settle | Cancel) and command.order_id not in live
        }
        if not settles and not ids:
            return Known()
        async with self._database.reading() as connection:
            orders = await read_orders(connection, list(ids))
            closed = [order.reservation for order in orders.values() if self._is_closed(order.reservation.sale_id)]
            return Known(
                orders=orders,
                payments=await read_payments(connection, [settle.transaction_id for settle in settles]),
                held=await read_held(connection, {(made.sale_id, made.buyer_id) for made in closed}),
            )

    def _is_closed(self, sale_id: str) -> bool:
        stock = self._book.sales.get(sale_id)
        return stock is not None and stock.closed

    async def _make_durable(self, decisions: Decisions) -> type[Problem] | None:
        """None when the batch is on disk; otherwise what to tell every caller in it."""
        if not decisions.wrote:
            self.outcomes.update(decisions.outcomes)
            return None
        # In doubt until proved otherwise, also when this task is cancelled half-way.
        self._doubt = decisions
        try:
            await self._write(decisions)
        except Exception as error:  # noqa: BLE001  # whatever failed, memory has to follow SQL
            _log.warning("a batch of the stock ledger failed: %s", error, exc_info=not isinstance(error, Problem))
            self._stale = self._stale or isinstance(error, IntegrityError | Overtaken)
            return await self._after_failure()
        self._accept(decisions)
        return None

    async def _after_failure(self) -> type[Problem] | None:
        self._pause()
        try:
            written = await self._clear_doubt()
        except DatabaseUnavailable:
            return OutcomeUnknown
        return None if written else DatabaseUnavailable

    async def _write(self, decisions: Decisions) -> None:
        book = self._book
        # Rows are made here: the writer's thread must not look into memory that this one goes on with.
        batch = Batch(
            last=self._batch,
            name=decisions.name,
            opened=[sale_row(sale) for sale in decisions.opened],
            placed=placed_rows(decisions.placed, RESERVED),
            moves=decisions.move_rows(),
            payments=payment_rows(decisions.payments),
            tallies=[tally_row(sale_id, book.sales[sale_id].tally) for sale_id in decisions.touched],
        )
        await self._database.write(batch.write)

    def _accept(self, decisions: Decisions) -> None:
        self._doubt, self._batch = None, decisions.name
        decisions.publish()
        self.outcomes.update(decisions.outcomes)
        for move in decisions.moves:
            self._tell(OrderEvent(move.reservation, move.after))

    def _tell(self, event: OrderEvent) -> None:
        for listener in self.listeners:
            try:
                listener(event)
            except Exception:  # noqa: BLE001  # a listener must not hurt the ledger
                _log.exception("a listener to orders failed")

    # --- memory and SQL ---

    async def _know(self) -> None:
        """Memory equals SQL when this returns. Raises ``DatabaseUnavailable``."""
        await self._clear_doubt()
        if self._stale:
            await self._load()

    async def _clear_doubt(self) -> bool:
        """Finds out what became of a batch whose transaction failed; True when it was written."""
        doubt = self._doubt
        if doubt is None:
            return True
        async with self._database.reading() as connection:
            batch = await read_batch(connection)
        if batch == doubt.name:
            self._accept(doubt)
            return True
        self._doubt = None
        doubt.undo()
        self._stale = self._stale or batch != self._batch
        return False

    async def _require_keeper(self) -> None:
        async with self._database.reading() as connection:
            if await read_keeper(connection) == "redis":
                raise SettingsError(
                    "redis.url: not set, but this database's stock is kept in Redis; set TEAHOUSE_REDIS__URL, "
                    "or bring the stock back with: teahouse reconcile --to-sql"
                )

    async def _load(self) -> None:
        book, now = Book(), self._clock.now_ms()
        async with self._database.reading() as connection:
            self._batch = await read_batch(connection) or ""
            for sale, tally in await read_sales(connection):
                stock = SaleStock(sale, tally)
                book.add(stock)
                if stock.closable(now):
                    stock.close()
                else:
                    await _remember(connection, book, stock)
        self._book, self._stale = book, False

    async def _recall(self, asks: list[Reserve]) -> Sequence[Reservation | BaseException | None]:
        try:
            return await self._orders.recall(asks)
        except DatabaseUnavailable:
            return [DatabaseUnavailable() for _ in asks]

    def _stock(self, sale_id: str) -> SaleStock:
        stock = self._book.sales.get(sale_id)
        if stock is None:
            raise NotFound("There is no such sale.")
        return stock

    def _pause(self) -> None:
        self._resume_at = self._clock.monotonic() + _PAUSE_SECONDS


async def _remember(connection: AsyncConnection, book: Book, stock: SaleStock) -> None:
    reserved = sold = 0
    async for chunk in stream_orders(connection, stock.sale.id):
        counted = book.remember(stock, chunk)
        reserved, sold = reserved + counted[0], sold + counted[1]
    if (reserved, sold) != (stock.reserved, stock.sold):
        # What buyers were told counts; the next batch of this sale writes the counters anew.
        _log.error("sale %s: its counters differ from its orders; `teahouse reconcile` tells how", stock.sale.id)
        remaining = stock.initial - reserved - sold
        stock.restore(Tally(initial=stock.initial, remaining=remaining, reserved=reserved, sold=sold))
        stock.shown = remaining
