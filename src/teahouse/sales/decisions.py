"""Decides one batch of commands in order, in memory, and can take all of it back.

Nothing here is durable: ``stock_sql.py`` writes what was decided in one transaction, and calls ``undo`` when that
transaction did not happen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from teahouse.clock import Clock
from teahouse.problems import (
    IdempotencyMismatch,
    NotFound,
    OrderNotCancellable,
    Problem,
    SaleNotStarted,
    StockNotReducible,
    TransactionReused,
)
from teahouse.sales.model import (
    CANCELLED,
    EXPIRED,
    PAID,
    RESERVED,
    Cancel,
    Expire,
    Open,
    Order,
    OrderStatus,
    Payment,
    PaymentState,
    Reservation,
    Reserve,
    Restock,
    Sale,
    Settle,
    Tally,
)
from teahouse.sales.stock import Book, SaleStock

Command = Reserve | Cancel | Settle | Expire | Open | Restock


class Move(msgspec.Struct, frozen=True):
    """An order's change of status."""

    reservation: Reservation
    before: OrderStatus
    after: OrderStatus


class Known(msgspec.Struct):
    """What SQL says about the orders and transactions of a batch that memory does not hold."""

    orders: dict[str, Order] = {}
    payments: dict[str, Payment] = {}
    # By sale and buyer, of sales that are closed: the units that they hold or have bought.
    held: dict[tuple[str, str], int] = {}


class Decisions:
    """One batch: the commands' results, what has to be written, and how to take it back."""

    def __init__(self, book: Book, known: Known, clock: Clock) -> None:
        self.name = clock.new_id()
        self.now = clock.now_ms()
        self.placed: list[tuple[str, Reservation]] = []
        self.moves: list[Move] = []
        self.payments: list[Payment] = []
        self.opened: list[Sale] = []
        self.touched: dict[str, Tally] = {}
        self.outcomes: Counter[str] = Counter()
        self._book = book
        self._known = known
        self._clock = clock
        self._refused: list[tuple[SaleStock, str]] = []
        self._rules: Mapping[type[Any], Any] = {
            Reserve: self._reserve,
            Cancel: self._cancel,
            Settle: self._settle,
            Expire: self._expire,
            Open: self._open,
            Restock: self._restock,
        }

    @property
    def wrote(self) -> bool:
        """Whether there is something to make durable."""
        return bool(self.touched or self.payments)

    def take(self, commands: Sequence[Command]) -> list[Any]:
        """One result or problem for each command. On an unforeseen error memory is as before."""
        rules = self._rules
        try:
            return [rules[type(command)](command) for command in commands]
        except BaseException:
            self.undo()
            raise

    def move_rows(self) -> list[dict[str, Any]]:
        """The changes of status as SQL takes them."""
        return [
            {"order": move.reservation.id, "before": move.before, "after": move.after, "now": self.now}
            for move in self.moves
        ]

    def undo(self) -> None:
        """Puts memory back as it was before this batch."""
        book = self._book
        for move in reversed(self.moves):
            self._shift(move.reservation, move.after, move.before)
        for slot, reservation in reversed(self.placed):
            stock = book.sales[reservation.sale_id]
            del stock.by_slot[slot]
            stock.hold(reservation.buyer_id, -reservation.quantity)
        for stock, slot in self._refused:
            stock.refusals.forget(slot)
        for sale_id, tally in self.touched.items():
            book.sales[sale_id].restore(tally)
        for sale in self.opened:
            book.drop(sale.id)

    def publish(self) -> None:
        """The batch is durable: readers may see it, and what it reserved is live."""
        book = self._book
        for _, reservation in self.placed:
            book.admit(reservation)
        for sale_id in self.touched:
            stock = book.sales[sale_id]
            stock.shown = stock.remaining

    # --- the commands ---

    def _reserve(self, ask: Reserve) -> Reservation | Problem | None:
        stock = self._book.sales.get(ask.sale_id)
        if stock is None:
            # It was there when the call came: the batch that opened it has been taken back since.
            return NotFound("There is no such sale.")
        if stock.closed:
            return None
        slot = ask.slot
        earlier = stock.by_slot.get(slot)
        if earlier is not None:
            return self._repeat(earlier, ask)
        refused = stock.refusals.get(slot)
        if refused is not None:
            return self._problem(refused[1] if refused[0] == ask.quantity else IdempotencyMismatch)
        kind = stock.refuses(ask, self.now)
        if kind is not None:
            return self._refuse(stock, slot, ask.quantity, kind)
        self._touch(stock)
        reservation = Reservation(
            id=self._clock.new_id(),
            sale_id=ask.sale_id,
            buyer_id=ask.buyer_id,
            quantity=ask.quantity,
            amount=ask.quantity * stock.sale.price,
            created_at=self.now,
            pay_before=self.now + stock.sale.pay_within_seconds * 1000,
        )
        stock.place(slot, reservation)
        self.placed.append((slot, reservation))
        self.outcomes[RESERVED] += 1
        return reservation

    def _repeat(self, earlier: Reservation, ask: Reserve) -> Reservation | Problem:
        # The body of a purchase is its quantity alone, so the quantity is the whole fingerprint.
        if earlier.quantity != ask.quantity:
            return self._problem(IdempotencyMismatch)
        self.outcomes["repeated"] += 1
        return earlier

    def _refuse(self, stock: SaleStock, slot: str, quantity: int, kind: type[Problem]) -> Problem:
        # Who comes too early asks again with the same key until the sale opens.
        if kind is not SaleNotStarted:
            stock.refusals.add(slot, quantity, kind)
            self._refused.append((stock, slot))
        return self._problem(kind)

    def _cancel(self, ask: Cancel) -> Order | Problem:
        order = self._order(ask.order_id)
        if order is None or order.reservation.buyer_id != ask.buyer_id:
            return NotFound()
        if order.status == CANCELLED:
            return order
        if order.status != RESERVED:
            return OrderNotCancellable(f"The order is {order.status}; only an unpaid reservation can be cancelled.")
        return self._move(order, CANCELLED)

    def _settle(self, ask: Settle) -> Payment | Problem:
        earlier = self._known.payments.get(ask.transaction_id)
        if earlier is not None:
            same = earlier.order_id == ask.order_id and earlier.amount == ask.amount
            return earlier if same else self._problem(TransactionReused)
        order = self._order(ask.order_id)
        reason = self._hindrance(order, ask.amount)
        if order is not None and not reason:
            self._move(order, PAID)
        state: PaymentState = "refund-due" if reason else "settled"
        self.outcomes[state] += 1
        payment = Payment(ask.transaction_id, ask.order_id, ask.amount, state, reason, self.now)
        self._known.payments[payment.transaction_id] = payment
        self.payments.append(payment)
        return payment

    def _hindrance(self, order: Order | None, amount: int) -> str:
        """Why the money has to go back; empty when it settles the order."""
        if order is None:
            return "unknown-order"
        if order.status == PAID:
            return "already-paid"
        if amount != order.reservation.amount:
            return "wrong-amount"
        stock = self._book.sales.get(order.reservation.sale_id)
        if stock is None:
            return "unknown-sale"
        return "" if order.status == RESERVED else self._hindrance_of_late(order.reservation, stock)

    def _hindrance_of_late(self, made: Reservation, stock: SaleStock) -> str:
        # A lapsed order is bought anew by its payment, so the rules of a purchase hold but for the window.
        if stock.remaining < made.quantity:
            return "sold-out-meanwhile"
        held = self._known.held.get((made.sale_id, made.buyer_id), 0)
        if not stock.closed:
            held = stock.held.get(made.buyer_id, 0)
        return "limit-reached" if held + made.quantity > stock.sale.per_buyer_limit else ""

    def _expire(self, ask: Expire) -> int:
        expired = 0
        while expired < ask.limit and (reservation := self._book.pop_due(self.now)) is not None:
            self._move(Order(reservation, RESERVED, reservation.created_at), EXPIRED)
            expired += 1
        return expired

    def _open(self, ask: Open) -> Sale:
        stock = SaleStock(ask.sale)
        self._book.add(stock)
        self.opened.append(ask.sale)
        self._touch(stock)
        return ask.sale

    def _restock(self, ask: Restock) -> Sale | Problem:
        stock = self._book.sales.get(ask.sale_id)
        if stock is None:
            return NotFound("There is no such sale.")
        remaining = ask.stock - stock.reserved - stock.sold
        if remaining < 0:
            return StockNotReducible(f"{stock.reserved + stock.sold} are reserved or sold already.")
        self._touch(stock)
        stock.initial, stock.remaining = ask.stock, remaining
        return stock.sale

    # --- how stock moves ---

    def _order(self, order_id: str) -> Order | None:
        earlier = self._known.orders.get(order_id)
        if earlier is not None:
            return earlier
        reservation = self._book.live.get(order_id)
        return Order(reservation, RESERVED, reservation.created_at) if reservation else None

    def _move(self, order: Order, after: OrderStatus) -> Order:
        reservation = order.reservation
        self._touch(self._book.sales[reservation.sale_id])
        self._shift(reservation, order.status, after)
        self.moves.append(Move(reservation, order.status, after))
        self.outcomes["paid-late" if after == PAID and order.status != RESERVED else after] += 1
        mine = (reservation.sale_id, reservation.buyer_id)
        change = reservation.quantity * (_held(after) - _held(order.status))
        self._known.held[mine] = self._known.held.get(mine, 0) + change
        moved = Order(reservation, after, self.now)
        self._known.orders[reservation.id] = moved
        return moved

    def _shift(self, reservation: Reservation, before: OrderStatus, after: OrderStatus) -> None:
        """Moves the units from where ``before`` counts them to where ``after`` does; its own inverse when swapped."""
        stock, quantity = self._book.sales[reservation.sale_id], reservation.quantity
        for status, change in ((before, -quantity), (after, quantity)):
            if status == RESERVED:
                stock.reserved += change
            elif status == PAID:
                stock.sold += change
            else:
                stock.remaining += change
        stock.hold(reservation.buyer_id, quantity * (_held(after) - _held(before)))
        if before == RESERVED:
            self._book.live.pop(reservation.id, None)
        elif after == RESERVED:
            self._book.admit(reservation)

    def _touch(self, stock: SaleStock) -> None:
        if stock.sale.id not in self.touched:
            self.touched[stock.sale.id] = stock.tally

    def _problem(self, kind: type[Problem]) -> Problem:
        self.outcomes[kind.slug] += 1
        return kind(_explained(kind.slug))


@cache
def _explained(slug: str) -> str:
    # Putting a problem's text together costs more than deciding the purchase.
    return Problem.vocabulary[slug].explanation()


def _held(status: OrderStatus) -> int:
    return int(status in (RESERVED, PAID))
