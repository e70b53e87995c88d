"""What people do in the shop: the use cases, above the ports."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence

import msgspec

from teahouse.clock import Clock
from teahouse.problems import FieldError, NotFound, Problem, ValidationFailed
from teahouse.sales.catalogue import Catalogue
from teahouse.sales.ledger import StockLedger
from teahouse.sales.model import OnSale, Order, Payment, Product, Reservation, Sale
from teahouse.sales.orders import Orders
from teahouse.sales.reconciliation import Audit

# Unpaid stock returns at most this late.
EXPIRY_SECONDS = 0.5

_log = logging.getLogger(__name__)


class ProductDraft(msgspec.Struct, frozen=True):
    """A product as an admin writes it."""

    name: str
    description: str
    images: tuple[str, ...]
    price: int


class SaleDraft(msgspec.Struct, frozen=True):
    """The terms of a sale as an admin writes them; times in Unix milliseconds."""

    product_id: str
    stock: int
    price: int
    starts_at: int
    ends_at: int
    per_buyer_limit: int
    pay_within_seconds: int


class SalesService:
    """The shop. Every verb may raise ``DatabaseUnavailable``, ``Overloaded`` and ``ShuttingDown``."""

    def __init__(self, *, catalogue: Catalogue, orders: Orders, ledger: StockLedger, clock: Clock) -> None:
        self.ledger = ledger
        self._catalogue = catalogue
        self._orders = orders
        self._clock = clock
        self._expiry: asyncio.Task[None] | None = None

    # --- life ---

    async def start(self) -> None:
        """Opens the shop; unpaid reservations return to stock from now on."""
        await self.ledger.start()
        self._expiry = asyncio.get_running_loop().create_task(self._return_unpaid(), name="return unpaid stock")

    async def stop(self) -> None:
        """Finishes what was accepted."""
        if self._expiry is not None:
            self._expiry.cancel()
            await asyncio.gather(self._expiry, return_exceptions=True)
        await self.ledger.aclose()

    async def _return_unpaid(self) -> None:
        # A fixed step, not a sleep until the next due one: it stays right when the clock is set.
        while True:
            await asyncio.sleep(EXPIRY_SECONDS)
            try:
                await self.ledger.expire_due()
            except Problem as problem:
                _log.warning("unpaid stock could not be returned yet: %s", problem.detail)
            except Exception:  # noqa: BLE001  # the next turn tries again
                _log.exception("unpaid stock could not be returned yet")

    # --- products ---

    async def add_product(self, draft: ProductDraft) -> Product:
        """A new product."""
        product = self._product(self._clock.new_id(), draft)
        await self._catalogue.add(product)
        return product

    async def replace_product(self, product_id: str, draft: ProductDraft) -> Product:
        """The product as the draft says, in full. Raises ``NotFound``."""
        product = await self._catalogue.replace(self._product(product_id, draft))
        if product is None:
            raise NotFound
        return product

    async def product(self, product_id: str) -> Product:
        """One product. Raises ``NotFound``."""
        product = await self._catalogue.get(product_id)
        if product is None:
            raise NotFound
        return product

    async def products(self, *, before: str | None, limit: int) -> list[Product]:
        """Newest first."""
        return await self._catalogue.page(before=before, limit=limit)

    def _product(self, product_id: str, draft: ProductDraft) -> Product:
        now = self._clock.now_ms()
        return Product(product_id, draft.name, draft.description, draft.images, draft.price, now, now)

    # --- sales ---

    async def open_sale(self, draft: SaleDraft) -> OnSale:
        """A new sale. Raises ``NotFound`` for its product, and ``ValidationFailed``."""
        await self._check(draft)
        sale = Sale(id=self._clock.new_id(), created_at=self._clock.now_ms(), **msgspec.structs.asdict(draft))
        await self.ledger.open(sale)
        return OnSale(sale, sale.stock)

    async def _check(self, draft: SaleDraft) -> None:
        if await self._catalogue.get(draft.product_id) is None:
            raise NotFound("There is no such product.")
        errors = []
        if draft.ends_at <= draft.starts_at:
            errors.append(FieldError("/endsAt", "must be later than startsAt"))
        if draft.per_buyer_limit > draft.stock:
            errors.append(FieldError("/perBuyerLimit", "must not be more than the stock"))
        if errors:
            raise ValidationFailed(errors=errors)

    async def restock(self, sale_id: str, stock: int) -> OnSale:
        """The sale's stock as a whole becomes ``stock``. Raises ``NotFound`` and ``StockNotReducible``."""
        await self.ledger.restock(sale_id, stock)
        found = await self.ledger.sale(sale_id)
        # Somebody else may have changed it again meanwhile: this is the answer to what was asked here.
        return OnSale(msgspec.structs.replace(found.sale, stock=stock), found.remaining)

    def shown(self, sale_id: str) -> OnSale | None:
        """One sale where that takes no waiting; None where it has to be asked for. May raise ``NotFound``."""
        return self.ledger.shown(sale_id)

    async def sale(self, sale_id: str) -> OnSale:
        """One sale. Raises ``NotFound``."""
        return await self.ledger.sale(sale_id)

    async def sales(self, *, before: str | None, limit: int) -> Sequence[OnSale]:
        """Newest first."""
        return await self.ledger.sales(before=before, limit=limit)

    async def audit(self, sale_id: str) -> Audit:
        """Whether ledger, orders and payments agree. Raises ``NotFound``."""
        return await self.ledger.audit(sale_id)

    # --- orders ---

    def purchase(self, buyer_id: str, sale_id: str, key: str, quantity: int) -> Awaitable[Reservation]:
        """Reserves stock for a buyer; see ``StockLedger.reserve`` for what it promises and raises."""
        return self.ledger.reserve(sale_id, buyer_id, key, quantity)

    async def cancel(self, buyer_id: str, order_id: str) -> Order:
        """The buyer's own reservation goes back. Raises ``NotFound`` and ``OrderNotCancellable``."""
        return await self.ledger.cancel(order_id, buyer_id)

    async def order(self, buyer_id: str, order_id: str) -> Order:
        """The buyer's own order. Raises ``NotFound``."""
        order = await self._orders.get(order_id, buyer_id)
        if order is None:
            raise NotFound
        return order

    async def orders(self, buyer_id: str, *, before: str | None, limit: int) -> list[Order]:
        """The buyer's own orders, newest first."""
        return await self._orders.page(buyer_id, before=before, limit=limit)

    async def settle(self, order_id: str, amount: int, transaction_id: str) -> Payment:
        """Money arrived; see ``StockLedger.settle``."""
        return await self.ledger.settle(order_id, amount, transaction_id)

    async def pay_in_sandbox(
        self, buyer_id: str, order_id: str, *, amount: int | None, transaction_id: str | None
    ) -> Payment:
        """Stands in for the platform's payment of the buyer's own order. Raises ``NotFound``, ``TransactionReused``.

        Without an amount it is the order's; without a transaction id there is one per order.
        """
        order = await self.order(buyer_id, order_id)
        owed = order.reservation.amount if amount is None else amount
        return await self.settle(order_id, owed, transaction_id or f"sandbox-{order_id}")
