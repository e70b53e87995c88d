"""Messages: the rooms that somebody has made are counted by an index."""

from alembic import op

from teahouse.migrations import steps

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    steps.create_index("ix_rooms_created_by", "rooms", ["created_by"])


def downgrade() -> None:
    op.drop_index("ix_rooms_created_by", "rooms")
