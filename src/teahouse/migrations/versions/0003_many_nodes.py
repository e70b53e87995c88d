"""Many nodes: the replicas' heartbeat, versions of orders, the order of a sale's changes, and who keeps the stock."""

import sqlalchemy as sa

from teahouse.migrations import steps

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    steps.create_table(
        "replication_heartbeat",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("beaten_at", sa.BigInteger, nullable=False, comment="Unix milliseconds by the primary's clock"),
        sa.PrimaryKeyConstraint("id", name="pk_replication_heartbeat"),
    )
    rises = "rises by one with each change"
    steps.add_column("orders", sa.Column("version", sa.BigInteger, nullable=False, server_default="1", comment=rises))
    decides = "of the counters, where Redis decides"
    steps.add_column("sales", sa.Column("seq", sa.BigInteger, nullable=False, server_default="0", comment=decides))
    keeps = "who decides about stock: sql or redis"
    steps.add_column(
        "stock_ledger", sa.Column("keeper", sa.String(8), nullable=False, server_default="sql", comment=keeps)
    )


def downgrade() -> None:
    steps.drop_column("stock_ledger", "keeper")
    steps.drop_column("sales", "seq")
    steps.drop_column("orders", "version")
    steps.drop_table("replication_heartbeat")
