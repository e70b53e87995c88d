"""Files: uploads, and the objects that finished ones share."""

import sqlalchemy as sa

from teahouse.migrations import steps

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    steps.create_table(
        "file_objects",
        sa.Column(
            "id", sa.String(32), nullable=False, comment="never used again, so what it names may be removed late"
        ),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("uses", sa.BigInteger, nullable=False, comment="files with this content"),
        sa.PrimaryKeyConstraint("id", name="pk_file_objects"),
        sa.UniqueConstraint("sha256", name="uq_file_objects_sha256"),
    )
    steps.create_table(
        "uploads",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner_id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("length", sa.BigInteger, nullable=True, comment="in bytes, once it is known"),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False, comment="as it was sent"),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("media_type", sa.String(255), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=True),
        sa.Column("completed_at", sa.BigInteger, nullable=True),
        sa.Column("object_id", sa.String(32), nullable=True),
        sa.Column("sha256", sa.String(64), nullable=True),
        sa.Column("parts", sa.Text, nullable=False, comment="ids, as JSON"),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
    )
    steps.create_index("ix_uploads_owner_id_uploads_id", "uploads", ["owner_id", "id"])
    steps.create_index("ix_uploads_expires_at", "uploads", ["expires_at"])


def downgrade() -> None:
    for table in ("uploads", "file_objects"):
        steps.drop_table(table)
