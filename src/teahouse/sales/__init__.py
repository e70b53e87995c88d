"""The shop: products, flash sales, purchases, orders and their payments."""

from teahouse.sales.ledger import StockLedger
from teahouse.sales.model import OnSale, Order, OrderEvent, Payment, Product, Reservation, Sale, Tally
from teahouse.sales.reconciliation import Audit, Difference
from teahouse.sales.service import ProductDraft, SaleDraft, SalesService

__all__ = [
    "Audit",
    "Difference",
    "OnSale",
    "Order",
    "OrderEvent",
    "Payment",
    "Product",
    "ProductDraft",
    "Reservation",
    "Sale",
    "SaleDraft",
    "SalesService",
    "StockLedger",
    "Tally",
]
