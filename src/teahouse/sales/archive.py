"""The port of the shop's long memory, for a ledger that decides elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from teahouse.sales.model import Order, OrderStatus, Payment, PaymentState, Reservation, Reserve, Sale, Tally
from teahouse.sales.reconciliation import Audit

Keeper = Literal["sql", "redis"]

# What every database takes whole; some would cut off what is longer, in silence.
Id = Annotated[str, Meta(max_length=32)]
Name = Annotated[str, Meta(max_length=64)]
Whole = Annotated[int, Meta(le=2**63 - 1)]

# Counters that are brought back from the archive are ahead of any change that a worker may have seen of them.
SEQ_LEAP = 1_000_000


class OrderRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An order with its key, as ledger, log and archive hand it on. ``version`` rises by one with each change."""

    id: Id
    sale_id: Id
    buyer_id: Id
    key: Name
    quantity: Whole
    amount: Whole
    status: OrderStatus
    created_at: Whole
    pay_before: Whole
    changed_at: Whole
    version: Whole

    @property
    def reservation(self) -> Reservation:
        """What the buyer was promised."""
        return Reservation(
            self.id, self.sale_id, self.buyer_id, self.quantity, self.amount, self.created_at, self.pay_before
        )

    @property
    def order(self) -> Order:
        """The reservation and what became of it."""
        return Order(self.reservation, self.status, self.changed_at)


class PaymentRow(msgspec.Struct, frozen=True, array_like=True):
    """A payment as ledger and log hand it on."""

    transaction_id: Name
    order_id: Name
    amount: Whole
    state: PaymentState
    reason: Id
    received_at: Whole

    @property
    def payment(self) -> Payment:
        """As the shop speaks of it."""
        return Payment(self.transaction_id, self.order_id, self.amount, self.state, self.reason, self.received_at)


class Archived(msgspec.Struct, frozen=True):
    """A sale as the archive has it: its terms, and its counters after the ``seq``-th change; -1: not opened yet."""

    sale: Sale
    tally: Tally
    seq: int


class ArchivedAudit(msgspec.Struct, frozen=True):
    """What the archive says of a sale at one moment: its counters after the ``seq``-th change, its orders, payments."""

    audit: Audit
    seq: int


class Entry(msgspec.Struct, frozen=True):
    """One step of the ledger: a sale's counters after its ``seq``-th change, and the rows that changed, as JSON.

    ``orders`` and ``payments`` are rows with commas between them, ``count`` is how many. ``sale_id`` is empty for
    payments of orders that nobody knows.
    """

    id: str
    sale_id: str
    seq: int
    at: int
    tally: Tally
    count: int
    orders: str
    payments: str


class Refused(msgspec.Struct, frozen=True):
    """A row that the archive will never take, and why."""

    id: str
    row: str
    reason: str


def entry_of_row(refused: Refused) -> Entry | None:
    """A row that was refused, to be recorded once more; None where it is no row at all."""
    only = Entry(refused.id, "", 0, 0, Tally(0, 0, 0, 0), 1, "", "")
    for kind, name in ((OrderRow, "orders"), (PaymentRow, "payments")):
        try:
            msgspec.json.decode(refused.row, type=kind)
        except msgspec.DecodeError:
            continue
        return msgspec.structs.replace(only, **{name: refused.row})
    return None


class Archive(Protocol):
    """Sales, orders and payments for good. Every verb may raise ``DatabaseUnavailable``.

    Recording is idempotent and free of order: a row replaces an older version only, counters those of a smaller
    ``seq``. So an entry may come twice, and from two recorders.
    """

    async def keeper(self) -> Keeper:
        """Who decides about stock: this database, or Redis above it."""
        ...

    async def hand_over(self, keeper: Keeper) -> None:
        """From now on that one decides."""
        ...

    async def sales(self, ids: Sequence[str]) -> dict[str, Archived]:
        """The sales with these ids that there are, as last written."""
        ...

    async def newest(self, *, before: str | None, limit: int) -> list[Archived]:
        """Up to ``limit`` sales, newest first, older than the sale ``before``."""
        ...

    async def add(self, sale: Sale) -> None:
        """A new sale with ``seq`` -1."""
        ...

    async def opened(self, sale_id: str) -> None:
        """The ledger has the sale: its ``seq`` becomes 0, if it was -1."""
        ...

    async def orders(self, ids: Sequence[str]) -> dict[str, OrderRow]:
        """The orders with these ids that there are, as last written."""
        ...

    async def order(self, order_id: str, buyer_id: str) -> OrderRow | None:
        """A buyer's own order."""
        ...

    async def page(self, buyer_id: str, *, before: str | None, limit: int) -> list[OrderRow]:
        """Up to ``limit`` of a buyer's orders, newest first, older than the order ``before``."""
        ...

    async def recall(self, asks: Sequence[Reserve]) -> list[OrderRow | None]:
        """The orders that were made under the same keys."""
        ...

    async def payments(self, transaction_ids: Sequence[str]) -> dict[str, Payment]:
        """The payments with these transaction ids that there are."""
        ...

    async def audit(self, sale_id: str) -> ArchivedAudit | None:
        """Compares the sale's counters, orders and payments of one moment."""
        ...

    async def record(self, entries: Sequence[Entry]) -> list[Refused]:
        """Makes entries durable; returns the rows that can never be, which are left out.

        Raises ``DatabaseUnavailable`` where it is not sure that all the others are.
        """
        ...

    def orders_of(self, sale_id: str) -> AsyncIterator[list[OrderRow]]:
        """Every order of a sale, in chunks of bounded size."""
        ...
