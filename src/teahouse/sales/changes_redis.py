"""What happens to orders after their purchase, on Redis: cancellations, payments and expiry, gathered by shard."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from teahouse.batching import Batcher
from teahouse.clock import Clock
from teahouse.engines.redis import Redis
from teahouse.problems import DatabaseUnavailable, NotFound, OrderNotCancellable, Problem, StockLost, TransactionReused
from teahouse.sales import keys_redis as keys
from teahouse.sales.archive import Archive, OrderRow, PaymentRow
from teahouse.sales.model import CANCELLED, EXPIRED, PAID, Cancel, Order, OrderEvent, Payment, Settle
from teahouse.sales.rejoining_redis import Rejoining
from teahouse.sales.scripts_redis import Scripts

EXPIRE_AT_ONCE = 500
# A transaction is remembered here until SQL has had a day to take its payment.
_CLAIM_SECONDS = 86_400
# An archive that fails so late gives no answer at all; it is asked again after a pause.
_SILENT_SECONDS = 1.0
_PAUSE_SECONDS = 1.0

_log = logging.getLogger(__name__)
_read_row = msgspec.json.Decoder(OrderRow).decode
_write_row = msgspec.json.Encoder().encode


_read_payment = msgspec.json.Decoder(PaymentRow).decode
Command = TypeVar("Command", Cancel, Settle)


class Changes:
    """Each verb is one step of one script; see ``StockLedger`` for what it promises."""

    def __init__(
        self,
        redis: Redis,
        scripts: Scripts,
        archive: Archive,
        rejoining: Rejoining,
        *,
        clock: Clock,
        timed: bool,
        outcomes: Counter[str],
        stock_returned: Callable[[str], None],
        max_waiting: int,
    ) -> None:
        self.cancels: Batcher[Cancel, Any] = Batcher(self._flush_cancels, name="cancellations", max_waiting=max_waiting)
        # Apart, as these ask SQL as well: while that is away, orders are cancelled all the same.
        self.settles: Batcher[Settle, Any] = Batcher(self._flush_settles, name="payments", max_waiting=max_waiting)
        self.listeners: list[Callable[[OrderEvent], None]] = []
        self.outcomes = outcomes
        self.stock_returned = stock_returned
        self.live = 0
        self._redis = redis
        self._scripts = scripts
        self._archive = archive
        self._rejoining = rejoining
        self._clock = clock
        self._timed = timed
        self._ask_again_at = float("-inf")

    @property
    def batchers(self) -> tuple[Batcher[Any, Any], ...]:
        """For /metrics."""
        return self.cancels, self.settles

    async def aclose(self) -> None:
        """Finishes what was accepted, and takes no more."""
        for batcher in self.batchers:
            await batcher.aclose()

    async def cancel(self, order_id: str, buyer_id: str) -> Order:
        """See ``StockLedger.cancel``."""
        order: Order = await self.cancels.submit(Cancel(order_id, buyer_id))
        return order

    async def settle(self, order_id: str, amount: int, transaction_id: str) -> Payment:
        """See ``StockLedger.settle``. Needs the archive too: only that knows every transaction."""
        payment: Payment = await self.settles.submit(Settle(order_id, amount, transaction_id))
        return payment

    async def expire_due(self) -> int:
        """See ``StockLedger.expire_due``."""
        await self._rejoining.check()
        counts = await asyncio.gather(*(self._expire(shard) for shard in keys.SHARDS))
        live = await asyncio.gather(*(self._redis.ask("GET", keys.live_key(shard)) for shard in keys.SHARDS))
        self.live = sum(int(each or 0) for each in live)
        return sum(counts)

    async def _expire(self, shard: str) -> int:
        total = 0
        while True:
            [reply] = await self._scripts.change(shard, self._now(), ("expire", "", EXPIRE_AT_ONCE, "", ""))
            for row in reply[2:]:
                self._tell(_read_row(row), EXPIRED)
            total += len(reply) - 2
            if reply[1] != b"more":
                return total

    def _now(self) -> int:
        return self._clock.now_ms() if self._timed else 0

    # --- one batch ---

    async def _flush_cancels(self, cancels: list[Cancel]) -> Sequence[Any]:
        return await self._together(self._cancel_all, cancels)

    async def _flush_settles(self, settles: list[Settle]) -> Sequence[Any]:
        return await self._together(self._settle_all, settles)

    async def _together(
        self, carry_out: Callable[[dict[int, Command]], Awaitable[dict[int, Any]]], commands: list[Command]
    ) -> Sequence[Any]:
        try:
            await self._rejoining.check()
        except Problem as problem:
            return [_again(problem) for _ in commands]
        outcomes = await carry_out(dict(enumerate(commands)))
        return [outcomes[place] for place in range(len(commands))]

    async def _cancel_all(self, cancels: dict[int, Cancel]) -> dict[int, Any]:
        nowhere: dict[str, OrderRow] = {}
        replies = await self._by_shard(
            {place: (keys.shard_of(each.order_id), _cancelling(each, None)) for place, each in cancels.items()}
        )
        unknown = [
            place for place, reply in replies.items() if not isinstance(reply, Problem) and reply[0] == b"unknown"
        ]
        if unknown:
            try:
                nowhere = await self._archive.orders([cancels[place].order_id for place in unknown])
            except Problem as problem:
                replies |= {place: _again(problem) for place in unknown}
            found = {place: nowhere[cancels[place].order_id] for place in unknown if cancels[place].order_id in nowhere}
            replies |= await self._by_shard(
                {place: (keys.shard_of(row.sale_id), _cancelling(cancels[place], row)) for place, row in found.items()}
            )
        return {place: self._cancelled(reply) for place, reply in replies.items()}

    def _cancelled(self, reply: Any) -> Order | Problem:
        if isinstance(reply, Problem):
            return reply
        said = reply[0]
        if said == b"ok":
            row = _read_row(reply[1])
            if len(reply) == 2:
                self._tell(row, CANCELLED)
            return row.order
        if said == b"refused":
            status = _read_row(reply[1]).status
            return OrderNotCancellable(f"The order is {status}; only an unpaid reservation can be cancelled.")
        return StockLost() if said == b"lost" else NotFound()

    async def _settle_all(self, settles: dict[int, Settle]) -> dict[int, Any]:
        begun = time.monotonic()
        try:
            if begun < self._ask_again_at:
                raise DatabaseUnavailable
            payments = await self._archive.payments([each.transaction_id for each in settles.values()])
            orders = await self._archive.orders([each.order_id for each in settles.values()])
            claimed = await self._claim(settles)
        except Problem as problem:
            if time.monotonic() - begun > _SILENT_SECONDS:
                # Those who have waited for this batch to end must not wait for the same silence again.
                self._ask_again_at = time.monotonic() + _PAUSE_SECONDS
            return {place: _again(problem) for place in settles}
        results: dict[int, Any] = {}
        asked: dict[int, tuple[str, tuple[str | int | bytes, ...]]] = {}
        for place, each in settles.items():
            earlier = payments.get(each.transaction_id)
            if earlier is not None:
                same = earlier.order_id == each.order_id and earlier.amount == each.amount
                results[place] = earlier if same else self._problem(TransactionReused)
            elif not claimed[place]:
                results[place] = self._problem(TransactionReused)
            else:
                row = orders.get(each.order_id)
                shard = keys.shard_of(row.sale_id if row else each.order_id)
                archived = _write_row(row) if row else b""
                asked[place] = (shard, ("settle", each.order_id, each.amount, each.transaction_id, archived))
        replies = await self._by_shard(asked)
        return results | {place: self._settled(reply) for place, reply in replies.items()}

    async def _claim(self, settles: dict[int, Settle]) -> dict[int, bool]:
        """Whether each transaction is for that order and amount, also where two shards hear of it at once."""
        wanted = {place: f"{each.order_id} {each.amount}".encode() for place, each in settles.items()}
        before = await asyncio.gather(
            *(
                self._redis.ask(
                    "SET", keys.claim_key(each.transaction_id), wanted[place], "NX", "GET", "EX", _CLAIM_SECONDS
                )
                for place, each in settles.items()
            )
        )
        return {place: found in (None, wanted[place]) for place, found in zip(settles, before, strict=True)}

    def _settled(self, reply: Any) -> Payment | Problem:
        if isinstance(reply, Problem):
            return reply
        if reply[0] == b"reused":
            return self._problem(TransactionReused)
        if reply[0] == b"lost":
            return StockLost()
        payment = _read_payment(reply[1]).payment
        if len(reply) > 2:
            self.outcomes[payment.state] += 1
            if payment.state == "settled":
                self._tell(_read_row(reply[2]), PAID, "paid-late" if reply[3] else PAID)
        return payment

    async def _by_shard(self, asked: dict[int, tuple[str, tuple[str | int | bytes, ...]]]) -> dict[int, Any]:
        """One script call for each shard; a reply or a problem for each place."""
        places: dict[str, list[int]] = {}
        for place, (shard, _) in asked.items():
            places.setdefault(shard, []).append(place)

        async def one(shard: str) -> list[Any]:
            flat = [value for place in places[shard] for value in asked[place][1]]
            try:
                return await self._scripts.change(shard, self._now(), flat)
            except Problem as problem:
                return [_again(problem) for _ in places[shard]]

        replies = await asyncio.gather(*(one(shard) for shard in places))
        return {
            place: reply
            for shard, answers in zip(places, replies, strict=True)
            for place, reply in zip(places[shard], answers, strict=True)
        }

    # --- telling ---

    def _tell(self, row: OrderRow, status: Any, outcome: str | None = None) -> None:
        self.outcomes[outcome or status] += 1
        if status != PAID:
            # This worker need not wait for the feed to hear of it.
            self.stock_returned(row.sale_id)
        event = OrderEvent(row.reservation, status)
        for listener in self.listeners:
            try:
                listener(event)
            except Exception:  # noqa: BLE001  # a listener must not hurt the ledger
                _log.exception("a listener to orders failed")

    def _problem(self, kind: type[Problem]) -> Problem:
        self.outcomes[kind.slug] += 1
        return kind()


def _cancelling(each: Cancel, row: OrderRow | None) -> tuple[str | int | bytes, ...]:
    return ("cancel", each.order_id, each.buyer_id, "", _write_row(row) if row else b"")


def _again(problem: Problem) -> Problem:
    return type(problem)(problem.detail)
