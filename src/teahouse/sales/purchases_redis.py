"""Purchases on Redis: those of one moment and one sale are one call of one script."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Sequence
from typing import Any

import msgspec

from teahouse.batching import Batcher, failed
from teahouse.clock import Clock
from teahouse.engines.redis import Redis
from teahouse.engines.redis_feed import Feed
from teahouse.problems import (
    IdempotencyMismatch,
    LimitReached,
    NotFound,
    Overloaded,
    Problem,
    SaleEnded,
    SaleNotStarted,
    SoldOut,
    StockLost,
)
from teahouse.sales import keys_redis as keys
from teahouse.sales.archive import Archive, Archived, OrderRow
from teahouse.sales.model import RESERVED, Reservation, Reserve
from teahouse.sales.receipts import Receipts
from teahouse.sales.rejoining_redis import Rejoining
from teahouse.sales.scripts_redis import Scripts
from teahouse.sales.shelf import Shelf, Shelves

# Who bought of a sold-out sale is remembered up to so many purchases; beyond, Redis is asked each time.
MOST_SLOTS = 20_000
_SCAN_COUNT = 1000
# While Redis decides about one batch, this worker answers those of the last one and reads those of the next.
_FLUSHES = 2
_HEAD = 5
_SOLD_OUT = 1
_REFUSALS: tuple[type[Problem] | None, ...] = (None, SoldOut, LimitReached, SaleNotStarted, SaleEnded)

_log = logging.getLogger(__name__)
_read_row = msgspec.json.Decoder(OrderRow).decode
_quote = msgspec.json.Encoder().encode


class Purchases:
    """The way of a purchase: what this worker knows for sure it answers itself, the rest one script decides.

    ``clock`` makes ids; ``timed`` says that it also tells the script the time, instead of Redis' own clock (tests).
    """

    def __init__(
        self,
        redis: Redis,
        feed: Feed,
        scripts: Scripts,
        archive: Archive,
        rejoining: Rejoining,
        *,
        clock: Clock,
        timed: bool,
        max_waiting: int,
        max_unrecorded: int,
    ) -> None:
        self.batcher: Batcher[Reserve, Reservation] = Batcher(
            self._flush, name="stock", max_waiting=max_waiting, max_flushes=_FLUSHES
        )
        self.lookups: Batcher[str, Archived | None] = Batcher(self._look_up, name="sales looked up")
        self.shelves = Shelves()
        self.outcomes: Counter[str] = Counter()
        self.receipts: Receipts | None = None
        self._redis = redis
        self._feed = feed
        self._scripts = scripts
        self._archive = archive
        self._rejoining = rejoining
        self._clock = clock
        self._timed = timed
        self._most = max_unrecorded
        self._learning: set[asyncio.Task[None]] = set()
        feed.on("stock", self.stock_returned)

    async def aclose(self) -> None:
        """Finishes what was accepted, and takes no more."""
        for batcher in (self.batcher, self.lookups):
            await batcher.aclose()
        for task in self._learning:
            task.cancel()
        await asyncio.gather(*self._learning, return_exceptions=True)

    def reserve(self, sale_id: str, buyer_id: str, key: str, quantity: int) -> Awaitable[Reservation]:
        """See ``StockLedger.reserve``."""
        shelf, ask = self.shelves.get(sale_id), Reserve(sale_id, buyer_id, key, quantity)
        if shelf is None:
            return self._reserve_unknown(ask)
        if shelf.surely_sold_out(buyer_id, self._clock.monotonic()) and self._feed.current:
            return failed(self._problem(LimitReached if quantity > shelf.sale.per_buyer_limit else SoldOut))
        try:
            return self.batcher.submit(ask)
        except Problem as problem:
            return failed(problem)

    async def _reserve_unknown(self, ask: Reserve) -> Reservation:
        await self.shelf(ask.sale_id)
        return await self.reserve(ask.sale_id, ask.buyer_id, ask.key, ask.quantity)

    async def shelf(self, sale_id: str) -> Shelf:
        """What this worker knows of the sale, read from the archive where that is nothing. Raises ``NotFound``."""
        shelf = self.shelves.get(sale_id)
        if shelf is not None:
            return shelf
        archived = await self.lookups.submit(sale_id)
        if archived is None:
            raise NotFound("There is no such sale.")
        return self.shelves.add(archived)

    # --- one batch ---

    async def _flush(self, asks: list[Reserve]) -> Sequence[Any]:
        by_sale: dict[str, list[int]] = {}
        for place, ask in enumerate(asks):
            by_sale.setdefault(ask.sale_id, []).append(place)
        if len(by_sale) == 1:
            return await self._decide(asks[0].sale_id, asks)
        groups = [self._decide(sale_id, [asks[place] for place in places]) for sale_id, places in by_sale.items()]
        results: list[Any] = [None] * len(asks)
        for places, answers in zip(by_sale.values(), await asyncio.gather(*groups), strict=True):
            for place, answer in zip(places, answers, strict=True):
                results[place] = answer
        return results

    async def _decide(self, sale_id: str, asks: list[Reserve]) -> list[Any]:
        try:
            await self._rejoining.check()
            shelf = await self.shelf(sale_id)
            reservations, arguments = self._written(shelf, asks)
            returns = shelf.returns
            reply = await self._ask(shelf, arguments)
        except Problem as problem:
            return [_again(problem) for _ in asks]
        if reply is None:
            return await self._with_earlier(asks, [None] * len(asks))
        self._heard(shelf, reply, returns)
        answers = self._answers(shelf, asks, reservations, arguments, reply)
        return await self._with_earlier(asks, answers)

    def _written(self, shelf: Shelf, asks: list[Reserve]) -> tuple[list[str], list[str | int]]:
        """A new order's id for each purchase, and the script's arguments."""
        sale = shelf.sale
        price, shard = sale.price, keys.shard_of(sale.id)
        ids = [each[:-1] + shard for each in self._clock.new_ids(len(asks))]
        arguments: list[str | int] = []
        for order_id, ask in zip(ids, asks, strict=True):
            buyer, key, quantity = ask.buyer_id, ask.key, ask.quantity
            quoted = f'"{key}"' if '"' not in key and "\\" not in key else _quote(key).decode()
            arguments += (
                f"{buyer} {key}",
                quantity,
                f'["{order_id}","{sale.id}","{buyer}",{quoted},{quantity},{quantity * price},',
            )
        return ids, arguments

    async def _ask(self, shelf: Shelf, arguments: list[str | int]) -> list[Any] | None:
        """The script's reply; None where the sale is closed. Raises ``StockLost`` and ``Overloaded``."""
        reply = await self._reserve(shelf, arguments)
        if reply[0] == b"missing" and await self._opened(shelf):
            reply = await self._reserve(shelf, arguments)
        said = reply[0]
        if said == b"ok":
            return reply
        if said == b"closed":
            shelf.closed = True
            return None
        if said == b"full":
            raise Overloaded(f"{self._most} orders of this part of the shop wait for the database. Ask again shortly.")
        raise StockLost

    async def _reserve(self, shelf: Shelf, arguments: list[str | int]) -> list[Any]:
        now = self._clock.now_ms() if self._timed else 0
        return await self._scripts.reserve(shelf.sale.id, now, shelf.seq, self._most, arguments)

    async def _opened(self, shelf: Shelf) -> bool:
        """Opens a sale whose creator did not come so far. Any other that Redis misses was lost."""
        found = (await self._archive.sales([shelf.sale.id])).get(shelf.sale.id)
        if found is None or found.seq >= 0:
            return False
        await self._scripts.open(found.sale)
        await self._archive.opened(found.sale.id)
        return True

    def _answers(
        self, shelf: Shelf, asks: list[Reserve], ids: list[str], arguments: list[str | int], reply: list[Any]
    ) -> list[Any]:
        _, now, seq, _remaining, _placed = reply[:_HEAD]
        sale, outcomes = shelf.sale, self.outcomes
        price, pay_before = sale.price, now + sale.pay_within_seconds * 1000
        answers: list[Any] = []
        made = 0
        for ask, order_id, told in zip(asks, ids, reply[_HEAD:], strict=True):
            if told == 0:
                made += 1
                answers.append(
                    Reservation(order_id, sale.id, ask.buyer_id, ask.quantity, ask.quantity * price, now, pay_before)
                )
            elif told.__class__ is int:
                kind = _REFUSALS[told]
                assert kind is not None
                answers.append(self._problem(kind))
            else:
                answers.append(self._repeated(ask, told))
        outcomes[RESERVED] += made
        if made and self.receipts is not None:
            rest = f'"reserved",{now},{pay_before},{now},1]'
            heads = arguments[2::3]
            rows = [f"{head}{rest}" for head, told in zip(heads, reply[_HEAD:], strict=True) if told == 0]
            self.receipts.note(sale.id, seq, rows)
        return answers

    def _heard(self, shelf: Shelf, reply: list[Any], returns: int) -> None:
        _, _now, seq, remaining, placed = reply[:_HEAD]
        shelf.heard(seq, remaining, placed)
        if _SOLD_OUT in reply[_HEAD:]:
            shelf.sold_out(self._clock.monotonic(), returns)
        if shelf.wants_buyers and not self._learning and self._feed.current:
            self._learn(shelf)

    def _repeated(self, ask: Reserve, row: bytes) -> Reservation | Problem | None:
        if row[:1] == b"?":
            # Settled long ago: SQL has it.
            return None
        return self._same(ask, _read_row(row))

    def _same(self, ask: Reserve, row: OrderRow) -> Reservation | Problem:
        # The body of a purchase is its quantity alone, so the quantity is the whole fingerprint.
        if row.quantity != ask.quantity:
            return self._problem(IdempotencyMismatch)
        self.outcomes["repeated"] += 1
        return row.reservation

    async def _with_earlier(self, asks: list[Reserve], answers: list[Any]) -> list[Any]:
        """Looks up what Redis does not hold any more: the orders of sales that are over, and of long ago."""
        open_places = [place for place, answer in enumerate(answers) if answer is None]
        if open_places:
            found = await self._recall([asks[place] for place in open_places])
            for place, row in zip(open_places, found, strict=True):
                if row is None:
                    answers[place] = self._problem(SaleEnded)
                else:
                    answers[place] = self._same(asks[place], row) if isinstance(row, OrderRow) else row
        return answers

    # --- what is known here ---

    def stock_returned(self, sale_id: str) -> None:
        """Units of the sale came back, here or elsewhere: it may not be sold out any more."""
        shelf = self.shelves.get(sale_id)
        if shelf is not None:
            shelf.stock_returned()

    def _learn(self, shelf: Shelf) -> None:
        task = asyncio.get_running_loop().create_task(self._learn_buyers(shelf), name="buyers of a sold-out sale")
        self._learning.add(task)
        task.add_done_callback(self._learning.discard)

    async def _learn_buyers(self, shelf: Shelf) -> None:
        placed, name = shelf.placed, keys.slots_key(shelf.sale.id)
        buyers: set[str] = set()
        try:
            if await self._redis.ask("HLEN", name) > MOST_SLOTS:
                return
            cursor = b"0"
            while True:
                cursor, found = await self._redis.ask("HSCAN", name, cursor, "COUNT", _SCAN_COUNT)
                buyers.update(each.decode().partition(" ")[0] for each in found[::2])
                if cursor == b"0":
                    break
        except Problem as problem:
            _log.info("who bought of sale %s cannot be read yet: %s", shelf.sale.id, problem.detail)
            return
        # None was added meanwhile unless stock returned, and then this set is for a moment that is over.
        if shelf.placed == placed:
            shelf.note_buyers(frozenset(buyers), placed)

    async def _look_up(self, ids: list[str]) -> Sequence[Archived | BaseException | None]:
        try:
            found = await self._archive.sales(list(set(ids)))
        except Problem as problem:
            return [_again(problem) for _ in ids]
        return [found.get(each) for each in ids]

    async def _recall(self, asks: list[Reserve]) -> Sequence[OrderRow | BaseException | None]:
        try:
            return await self._archive.recall(asks)
        except Problem as problem:
            return [_again(problem) for _ in asks]

    def _problem(self, kind: type[Problem]) -> Problem:
        self.outcomes[kind.slug] += 1
        return kind()


def _again(problem: Problem) -> Problem:
    # Each caller gets an exception of its own: a shared one would gather every caller's traceback.
    return type(problem)(problem.detail)
