"""The port of the stock ledger: the one place that decides who gets what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from teahouse.sales.model import OnSale, Order, OrderEvent, Payment, Reservation, Sale
from teahouse.sales.reconciliation import Audit


class StockLedger(Protocol):
    """Decides purchases and everything else that moves stock.

    Atomic: window, limit per buyer, stock, request id and reservation are decided in one step, and a result is handed
    out only when it is durable. ``remaining + reserved + sold == initial`` at every moment and after every crash.

    Ordering: commands of one sale are decided one after the other; a return of stock is seen by the next purchase.

    Time-outs: ``DatabaseUnavailable`` means that nothing was changed. ``OutcomeUnknown`` means that it may have been:
    the same key asked again gets the true answer. Every verb may raise both, and ``Overloaded`` or ``ShuttingDown``.
    """

    @property
    def outcomes(self) -> Counter[str]:
        """How many commands ended how since the start: ``reserved``, ``repeated``, ``paid``, slugs of refusals, …."""
        ...

    @property
    def listeners(self) -> list[Callable[[OrderEvent], None]]:
        """Called with each order that was paid or lapsed, after that is durable; must not wait."""
        ...

    @property
    def live(self) -> int:
        """How many reservations wait for their payment."""
        ...

    async def start(self) -> None:
        """Ready to decide when this returns."""
        ...

    async def aclose(self) -> None:
        """Finishes what was accepted, and takes no more."""
        ...

    def reserve(self, sale_id: str, buyer_id: str, key: str, quantity: int) -> Awaitable[Reservation]:
        """One purchase, to be awaited. The same key and quantity: the same reservation, whatever became of it since.

        Raises ``NotFound``, ``SoldOut``, ``LimitReached``, ``SaleNotStarted``, ``SaleEnded``, ``IdempotencyMismatch``.
        """
        ...

    async def cancel(self, order_id: str, buyer_id: str) -> Order:
        """Gives a reservation back, once; asked again it says the same. ``NotFound``, ``OrderNotCancellable``."""
        ...

    async def settle(self, order_id: str, amount: int, transaction_id: str) -> Payment:
        """Records money that arrived; the same transaction is one payment. Raises ``TransactionReused``.

        It settles the order, also a lapsed one while stock lasts and the buyer's limit allows it; else its state is
        ``refund-due``.
        """
        ...

    async def expire_due(self) -> int:
        """Returns every reservation whose time to pay is over to stock; how many these were."""
        ...

    async def open(self, sale: Sale) -> None:
        """A new sale, all of its stock remaining."""
        ...

    async def restock(self, sale_id: str, stock: int) -> None:
        """The sale's stock as a whole becomes ``stock``. Raises ``NotFound`` and ``StockNotReducible``."""
        ...

    def shown(self, sale_id: str) -> OnSale | None:
        """One sale where it need not be asked for; None where it must (``sale``). May raise ``NotFound``."""
        ...

    async def sale(self, sale_id: str) -> OnSale:
        """One sale as people may see it; ``remaining`` may lag by a second. Raises ``NotFound``."""
        ...

    async def sales(self, *, before: str | None, limit: int) -> Sequence[OnSale]:
        """Up to ``limit`` sales, newest first, older than the sale ``before``."""
        ...

    def known(self, limit: int) -> Sequence[OnSale]:
        """Up to ``limit`` sales that this process has seen lately, for figures."""
        ...

    async def audit(self, sale_id: str) -> Audit:
        """Compares counters, orders and payments of one moment. Raises ``NotFound``."""
        ...
