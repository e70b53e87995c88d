"""The stock of every sale in memory, and the rules of one purchase. No I/O: ``stock_sql.py`` makes it durable."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from msgspec.structs import replace

from teahouse.problems import LimitReached, Problem, SaleEnded, SaleNotStarted, SoldOut
from teahouse.sales.model import PAID, RESERVED, OnSale, OrderStatus, Reservation, Reserve, Sale, Tally

REMEMBERED_REFUSALS = 16_384
# Retries of the last purchases still find memory; later ones are answered from SQL.
CLOSE_AFTER_MS = 60_000
_HEAP_SLACK = 1024


class Refusals:
    """What was refused under which key, so that asking again gets the same answer.

    Bounded: between ``limit`` and twice that many of the latest are kept, and none over a restart.
    """

    __slots__ = ("_limit", "_newer", "_older")

    def __init__(self, limit: int = REMEMBERED_REFUSALS) -> None:
        self._limit = limit
        self._newer: dict[str, tuple[int, type[Problem]]] = {}
        self._older: dict[str, tuple[int, type[Problem]]] = {}

    def __len__(self) -> int:
        return len(self._newer) + len(self._older)

    def get(self, slot: str) -> tuple[int, type[Problem]] | None:
        """The quantity asked for and the kind of refusal."""
        return self._newer.get(slot) or self._older.get(slot)

    def add(self, slot: str, quantity: int, kind: type[Problem]) -> None:
        """Remembers one more."""
        if len(self._newer) >= self._limit:
            self._older, self._newer = self._newer, {}
        self._newer[slot] = (quantity, kind)

    def forget(self, slot: str) -> None:
        """As if it had not been refused."""
        self._newer.pop(slot, None)
        self._older.pop(slot, None)


class SaleStock:
    """One sale's counters, what each buyer holds and which purchase each key stands for.

    ``shown`` is what readers see: the remaining stock of the last durable batch. A *closed* sale (over, nothing
    reserved) keeps its counters only.
    """

    __slots__ = (
        "by_slot",
        "closed",
        "held",
        "initial",
        "refusals",
        "remaining",
        "reserved",
        "sale",
        "shown",
        "sold",
    )

    def __init__(self, sale: Sale, tally: Tally | None = None) -> None:
        self.sale = sale
        self.held: dict[str, int] = {}
        self.by_slot: dict[str, Reservation] = {}
        self.refusals = Refusals()
        self.closed = False
        self.restore(tally or Tally(initial=sale.stock, remaining=sale.stock, reserved=0, sold=0))
        self.shown = self.remaining

    @property
    def tally(self) -> Tally:
        """The counters of this moment, durable or not."""
        return Tally(initial=self.initial, remaining=self.remaining, reserved=self.reserved, sold=self.sold)

    def restore(self, tally: Tally) -> None:
        """Sets the counters."""
        self.initial, self.remaining = tally.initial, tally.remaining
        self.reserved, self.sold = tally.reserved, tally.sold

    def on_sale(self) -> OnSale:
        """The sale with its stock of now and the remaining stock to show."""
        sale = self.sale if self.sale.stock == self.initial else replace(self.sale, stock=self.initial)
        return OnSale(sale, max(0, self.shown))

    def refuses(self, ask: Reserve, now: int) -> type[Problem] | None:
        """The rule of a purchase: window, limit per buyer, stock, in this order."""
        sale = self.sale
        if now < sale.starts_at:
            return SaleNotStarted
        if now >= sale.ends_at:
            return SaleEnded
        if self.held.get(ask.buyer_id, 0) + ask.quantity > sale.per_buyer_limit:
            return LimitReached
        return SoldOut if ask.quantity > self.remaining else None

    def place(self, slot: str, reservation: Reservation) -> None:
        """Takes a purchase that nothing refuses."""
        quantity = reservation.quantity
        self.by_slot[slot] = reservation
        self.remaining -= quantity
        self.reserved += quantity
        self.hold(reservation.buyer_id, quantity)

    def hold(self, buyer_id: str, quantity: int) -> None:
        """The buyer has ``quantity`` more (or, negative, fewer)."""
        if self.closed:
            return
        held = self.held.get(buyer_id, 0) + quantity
        if held:
            self.held[buyer_id] = held
        else:
            self.held.pop(buyer_id, None)

    def closable(self, now: int) -> bool:
        """Over for good: nobody can buy, pay or return anything but late."""
        return not self.closed and not self.reserved and now >= self.sale.ends_at + CLOSE_AFTER_MS

    def close(self) -> None:
        """Frees what only a running sale needs."""
        self.closed = True
        self.held, self.by_slot, self.refusals = {}, {}, Refusals()


class Book:
    """Every sale's stock and every live reservation, in the order in which they fall due."""

    def __init__(self) -> None:
        self.sales: dict[str, SaleStock] = {}
        self._open: list[SaleStock] = []
        self.live: dict[str, Reservation] = {}
        self._due: list[tuple[int, str]] = []

    def add(self, stock: SaleStock) -> None:
        """Takes in a sale."""
        self.sales[stock.sale.id] = stock
        self._open.append(stock)

    def drop(self, sale_id: str) -> None:
        """As if the sale had never been."""
        self._open.remove(self.sales.pop(sale_id))

    def admit(self, reservation: Reservation) -> None:
        """The reservation is live from now on."""
        self.live[reservation.id] = reservation
        heappush(self._due, (reservation.pay_before, reservation.id))

    def next_due(self) -> int | None:
        """When the next unpaid reservation returns, in Unix milliseconds."""
        due, live = self._due, self.live
        while due and due[0][1] not in live:
            heappop(due)
        return due[0][0] if due else None

    def pop_due(self, now: int) -> Reservation | None:
        """The next live reservation whose time to pay is over; it leaves the queue."""
        moment = self.next_due()
        if moment is None or moment > now:
            return None
        return self.live[heappop(self._due)[1]]

    def tidy(self, now: int) -> None:
        """Closes what is over and drops the queue's entries of what was settled early."""
        for stock in self._open:
            if stock.closable(now):
                stock.close()
        self._open = [stock for stock in self._open if not stock.closed]
        if len(self._due) > 2 * len(self.live) + _HEAP_SLACK:
            self._due = [(reservation.pay_before, reservation.id) for reservation in self.live.values()]
            heapify(self._due)

    def remember(self, stock: SaleStock, orders: Iterable[tuple[Reservation, str, OrderStatus]]) -> tuple[int, int]:
        """Takes in a sale's orders as they stand in SQL, each with its key; returns the units reserved and sold."""
        by_slot, held = stock.by_slot, stock.held
        reserved = sold = 0
        for reservation, key, status in orders:
            buyer, quantity = reservation.buyer_id, reservation.quantity
            by_slot[f"{buyer} {key}"] = reservation
            if status == RESERVED:
                reserved += quantity
                held[buyer] = held.get(buyer, 0) + quantity
                self.admit(reservation)
            elif status == PAID:
                sold += quantity
                held[buyer] = held.get(buyer, 0) + quantity
        return reserved, sold
