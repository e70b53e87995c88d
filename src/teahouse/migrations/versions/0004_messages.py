"""Messages: conversations with their messages, rooms, and who is in them."""

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from teahouse.migrations import steps

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    steps.create_table(
        "conversations",
        sa.Column("id", steps.exact(70), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False, comment="of the last message"),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
    )
    steps.create_table(
        "messages",
        sa.Column("conversation", steps.exact(70), nullable=False),
        sa.Column("seq", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("sender_id", sa.String(32), nullable=False),
        sa.Column("client_id", steps.exact(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column(
            "content",
            sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb"),
            nullable=False,
            comment="a JSON text",
        ),
        sa.Column("sent_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("conversation", "seq", name="pk_messages"),
        sa.UniqueConstraint("sender_id", "client_id", name="uq_messages_sender_id_client_id"),
    )
    steps.create_table(
        "rooms",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("created_by", sa.String(32), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rooms"),
    )
    steps.create_table(
        "memberships",
        sa.Column("conversation", steps.exact(70), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("joined_at", sa.BigInteger, nullable=False),
        sa.Column("joined_seq", sa.BigInteger, nullable=False, comment="of the last message before they came"),
        sa.Column("read_seq", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("conversation", "user_id", name="pk_memberships"),
    )
    steps.create_index("ix_memberships_user_id_memberships_conversation", "memberships", ["user_id", "conversation"])


def downgrade() -> None:
    for table in ("memberships", "rooms", "messages", "conversations"):
        steps.drop_table(table)
