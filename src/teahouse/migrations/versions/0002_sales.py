"""Sales: products, sales with their counters, orders, payments, and the stock ledger's signature."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def exact(length: int) -> sa.String:
    """Text that is compared byte by byte on MySQL too."""
    return sa.String(length).with_variant(
        mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
    )


def upgrade() -> None:
    _create_products_and_sales()
    _create_orders_and_payments()
    op.create_table(
        "stock_ledger",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("batch", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_stock_ledger"),
    )


def _create_products_and_sales() -> None:
    op.create_table(
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
    op.create_table(
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
    op.create_table(
        "orders",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("sale_id", sa.String(32), nullable=False),
        sa.Column("buyer_id", sa.String(32), nullable=False),
        sa.Column("idempotency_key", exact(64), nullable=False),
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
    op.create_index("ix_orders_sale_id_id", "orders", ["sale_id", "id"])
    op.create_table(
        "payments",
        sa.Column("transaction_id", exact(64), nullable=False),
        sa.Column("order_id", sa.String(64), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False, comment="fen"),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("transaction_id", name="pk_payments"),
    )
    op.create_index("ix_payments_order_id", "payments", ["order_id"])
