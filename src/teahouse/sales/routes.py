"""The shop over HTTP."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Annotated

from msgspec import Meta

from teahouse.accounts import Admin, Caller
from teahouse.clock import Clock, to_milliseconds
from teahouse.problems import (
    DatabaseUnavailable,
    FieldError,
    IdempotencyKeyMissing,
    IdempotencyMismatch,
    LimitReached,
    NotFound,
    OrderNotCancellable,
    OutcomeUnknown,
    Overloaded,
    RedisUnavailable,
    SaleEnded,
    SaleNotStarted,
    ShuttingDown,
    SoldOut,
    StockLost,
    StockNotReducible,
    TransactionReused,
    ValidationFailed,
)
from teahouse.sales.model import MAX_KEY_LENGTH, Reservation
from teahouse.sales.service import ProductDraft, SaleDraft, SalesService
from teahouse.sales.views import (
    Id,
    OrderList,
    OrderView,
    PaymentView,
    ProductBody,
    ProductList,
    ProductView,
    PurchaseBody,
    ReconciliationView,
    SaleBody,
    SaleList,
    SaleView,
    SandboxPaymentBody,
    StockBody,
    check_years,
    view_audit,
    view_order,
    view_payment,
    view_product,
    view_reserved,
    view_sale,
)
from teahouse.settings import SalesSettings
from teahouse.web import App, Header, Maybe

Limit = Annotated[int, Meta(ge=1, le=100, description="how many at most")]
Cursor = Annotated[str, Meta(pattern="^[0-9a-f]{32}$", description="nextCursor of the page before")]

_KEY = re.compile(rf"[!-~]{{1,{MAX_KEY_LENGTH}}}")
# A key that is missing or strange has problems of its own.
_KEY_SCHEMA = Meta(extra_json_schema={"pattern": f"^{_KEY.pattern}$"})
_REFUSALS = (SoldOut, LimitReached, SaleNotStarted, SaleEnded)
_DATABASE = (DatabaseUnavailable,)
_READ = (DatabaseUnavailable, RedisUnavailable, Overloaded)
_WRITTEN = (DatabaseUnavailable, RedisUnavailable, StockLost, Overloaded, OutcomeUnknown, ShuttingDown)


def install(
    app: App, service: SalesService, *, clock: Clock, sandbox: bool, defaults: SalesSettings | None = None
) -> None:
    """Registers the shop's routes; those of the sandbox only where it stands in for the platform.

    ``defaults`` are the terms of a sale that its creator leaves out.
    """
    _install_products(app, service)
    _install_sales(app, service, clock, defaults or SalesSettings())
    _install_purchases(app, service)
    _install_orders(app, service)
    if sandbox:
        _install_sandbox(app, service)


def _install_products(app: App, service: SalesService) -> None:
    @app.get("/v1/products", tags=("products",), problems=_DATABASE)
    async def list_products(limit: Limit = 20, cursor: Cursor | None = None) -> ProductList:
        """Products, newest first."""
        # One more than asked for tells whether there is a next page.
        found = await service.products(before=cursor, limit=limit + 1)
        following = _next([each.id for each in found], limit)
        return ProductList([view_product(each) for each in found[:limit]], following)

    @app.get("/v1/products/{id}", tags=("products",), problems=(NotFound, *_DATABASE))
    async def get_product(id: Id) -> ProductView:  # noqa: A002 - the path's name
        """One product."""
        return view_product(await service.product(id))

    @app.post("/v1/products", status=201, tags=("products",), problems=_DATABASE)
    async def add_product(_admin: Admin, body: ProductBody) -> ProductView:
        """A new product."""
        return view_product(await service.add_product(_product(body)))

    @app.put("/v1/products/{id}", tags=("products",), problems=(NotFound, *_DATABASE))
    async def replace_product(_admin: Admin, id: Id, body: ProductBody) -> ProductView:  # noqa: A002 - the path's name
        """The product in full: what is left out becomes empty."""
        return view_product(await service.replace_product(id, _product(body)))


def _install_sales(app: App, service: SalesService, clock: Clock, defaults: SalesSettings) -> None:
    @app.get("/v1/sales", tags=("sales",), problems=_READ)
    async def list_sales(limit: Limit = 20, cursor: Cursor | None = None) -> SaleList:
        """Sales, newest first."""
        now = clock.now_ms()
        found = await service.sales(before=cursor, limit=limit + 1)
        following = _next([each.sale.id for each in found], limit)
        return SaleList([view_sale(each, now) for each in found[:limit]], following)

    async def ask_for(sale_id: str) -> SaleView:
        return view_sale(await service.sale(sale_id), clock.now_ms())

    @app.get("/v1/sales/{id}", tags=("sales",), problems=(NotFound, *_READ))
    def get_sale(id: str) -> Maybe[SaleView]:  # noqa: A002 - the path's name
        """One sale, with what remains of it."""
        shown = service.shown(id)
        return ask_for(id) if shown is None else view_sale(shown, clock.now_ms())

    @app.post("/v1/sales", status=201, tags=("sales",), problems=(NotFound, *_WRITTEN))
    async def open_sale(_admin: Admin, body: SaleBody) -> SaleView:
        """A new sale of a product."""
        return view_sale(await service.open_sale(_sale(body, defaults)), clock.now_ms())

    @app.put("/v1/sales/{id}/stock", tags=("sales",), problems=(NotFound, StockNotReducible, *_WRITTEN))
    async def restock(_admin: Admin, id: Id, body: StockBody) -> SaleView:  # noqa: A002 - the path's name
        """The sale's stock as a whole, with what is reserved and sold."""
        return view_sale(await service.restock(id, body.stock), clock.now_ms())

    @app.get("/v1/sales/{id}/reconciliation", tags=("sales",), problems=(NotFound, *_WRITTEN))
    async def reconciliation(_admin: Admin, id: Id) -> ReconciliationView:  # noqa: A002 - the path's name
        """Where every unit is, and whether ledger, orders and payments agree."""
        return view_audit(await service.audit(id))


def _install_purchases(app: App, service: SalesService) -> None:
    @app.post(
        "/v1/sales/{id}/purchases",
        status=202,
        tags=("sales",),
        problems=(NotFound, IdempotencyKeyMissing, IdempotencyMismatch, *_REFUSALS, *_WRITTEN),
        view=view_reserved,
    )
    def purchase(
        caller: Caller,
        id: str,  # noqa: A002 - the path's name
        body: PurchaseBody,
        key: Annotated[str, Header("Idempotency-Key", expected=True), _KEY_SCHEMA] = "",
    ) -> Awaitable[Reservation]:
        """Reserves stock for the caller; the same Idempotency-Key and body get the same answer."""
        return service.purchase(caller.user_id, id, _checked_key(key), body.quantity)


def _install_orders(app: App, service: SalesService) -> None:
    @app.get("/v1/orders", tags=("orders",), problems=_READ)
    async def list_orders(caller: Caller, limit: Limit = 20, cursor: Cursor | None = None) -> OrderList:
        """The caller's orders, newest first."""
        found = await service.orders(caller.user_id, before=cursor, limit=limit + 1)
        following = _next([each.reservation.id for each in found], limit)
        return OrderList([view_order(each) for each in found[:limit]], following)

    @app.get("/v1/orders/{id}", tags=("orders",), problems=(NotFound, *_READ))
    async def get_order(caller: Caller, id: Id) -> OrderView:  # noqa: A002 - the path's name
        """One of the caller's orders."""
        return view_order(await service.order(caller.user_id, id))

    @app.post("/v1/orders/{id}/cancel", tags=("orders",), problems=(NotFound, OrderNotCancellable, *_WRITTEN))
    async def cancel_order(caller: Caller, id: Id) -> OrderView:  # noqa: A002 - the path's name
        """Gives an unpaid reservation back; its stock returns once."""
        return view_order(await service.cancel(caller.user_id, id))


def _install_sandbox(app: App, service: SalesService) -> None:
    @app.post("/v1/sandbox/payments", tags=("sandbox",), problems=(NotFound, TransactionReused, *_WRITTEN))
    async def pay(caller: Caller, body: SandboxPaymentBody) -> PaymentView:
        """Pays one of the caller's orders, as the platform would."""
        payment = await service.pay_in_sandbox(
            caller.user_id, body.order_id, amount=body.amount, transaction_id=body.transaction_id
        )
        return view_payment(payment)


def _checked_key(key: str) -> str:
    if not key:
        raise IdempotencyKeyMissing
    if _KEY.fullmatch(key) is None:
        detail = f"must be 1 to {MAX_KEY_LENGTH} visible ASCII characters"
        raise ValidationFailed(errors=[FieldError("header:Idempotency-Key", detail)])
    return key


def _next(ids: list[str], limit: int) -> str | None:
    return ids[limit - 1] if len(ids) > limit else None


def _product(body: ProductBody) -> ProductDraft:
    return ProductDraft(body.name, body.description, tuple(body.images), body.price)


def _sale(body: SaleBody, defaults: SalesSettings) -> SaleDraft:
    check_years(body)
    return SaleDraft(
        product_id=body.product_id,
        stock=body.stock,
        price=body.price,
        starts_at=to_milliseconds(body.starts_at),
        ends_at=to_milliseconds(body.ends_at),
        per_buyer_limit=body.per_buyer_limit or min(defaults.per_buyer_limit, body.stock),
        pay_within_seconds=body.pay_within_seconds or defaults.pay_within_seconds,
    )
