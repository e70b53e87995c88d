"""Sales: products, sales with their counters, orders, payments, and the stock ledger's signature."""

import sqlalchemy as sa

from teahouse.migrations import steps

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_products_and_sales()
    _create_orders_and_payments()
    steps.create_table(
        "stock_ledger",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("batch", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_stock_ledger"),
    )


def _create_products_and_sales() -> None:
    steps.create_table(
        "products",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("images", sa.Text, nullable=False, comment="a JSON list of addresses"),
        sa.Column("price", sa.BigInteger, nullable=False, comment="fen"),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_products"),
    )
    steps.create_table(
        "sales",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("product_id", sa.String(32), nullable=False),
        sa.Column("price", sa.BigInteger, nullable=False, comment="fen"),
        sa.Column("starts_at", sa.BigInteger, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("per_buyer_limit", sa.BigInteger, nullable=False),
        sa.Column("pay_within_seconds", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("initial", sa.BigInteger, nullable=False),
        sa.Column("remaining", sa.BigInteger, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
        sa.Column("sold", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sales"),
        sa.ForeignKeyConstraint(["product_id"], ["products.id"], name="fk_sales_product_id_products"),
        sa.CheckConstraint("remaining + reserved + sold = initial", name="ck_sales_sum"),
        sa.CheckConstraint("reserved >= 0 AND sold >= 0", name="ck_sales_counts"),
    )


def _create_orders_and_payments() -> None:
    steps.create_table(
        "orders",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("sale_id", sa.String(32), nullable=False),
        sa.Column("buyer_id", sa.String(32), nullable=False),
        sa.Column("idempotency_key", steps.exact(64), nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False, comment="fen"),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("pay_before", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_orders"),
        sa.UniqueConstraint(
            "buyer_id", "sale_id", "idempotency_key", name="uq_orders_buyer_id_sale_id_idempotency_key"
        ),
    )
    steps.create_index("ix_orders_sale_id_id", "orders", ["sale_id", "id"])
    steps.create_table(
        "payments",
        sa.Column("transaction_id", steps.exact(64), nullable=False),
        sa.Column("order_id", sa.String(64), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False, comment="fen"),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("transaction_id", name="pk_payments"),
    )
    steps.create_index("ix_payments_order_id", "payments", ["order_id"])
