"""Accounts: users, what they log in by, and their sessions; the sandbox's codes."""

import sqlalchemy as sa

from teahouse.migrations import steps

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    steps.create_table(
        "users",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("nickname", sa.String(64), nullable=False),
        sa.Column("avatar_url", sa.String(1024), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
    )
    steps.create_table(
        "passwords",
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("username", sa.String(64), nullable=False),
        sa.Column("username_key", steps.exact(255), nullable=False),
        sa.Column("hash", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_passwords"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_passwords_user_id_users"),
        sa.UniqueConstraint("username_key", name="uq_passwords_username_key"),
    )
    steps.create_table(
        "wechat_identities",
        sa.Column("openid", steps.exact(128), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("unionid", steps.exact(128)),
        sa.Column("session_key", sa.String(128), nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("openid", name="pk_wechat_identities"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_wechat_identities_user_id_users"),
    )
    steps.create_index("ix_wechat_identities_user_id", "wechat_identities", ["user_id"])
    steps.create_index("ix_wechat_identities_unionid", "wechat_identities", ["unionid"])
    steps.create_table(
        "known_networks",
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("network", sa.String(64), nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "network", name="pk_known_networks"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_known_networks_user_id_users"),
    )
    steps.create_index("ix_known_networks_seen_at", "known_networks", ["seen_at"])
    steps.create_table(
        "sessions",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("device", sa.String(120), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("last_seen_at", sa.BigInteger, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("family_hash", sa.String(64), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("previous_hash", sa.String(64)),
        sa.Column("rotated_at", sa.BigInteger),
        sa.Column("sealed_successor", sa.LargeBinary(128)),
        sa.Column("ended_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_sessions_user_id_users"),
    )
    steps.create_index("ix_sessions_user_id_sessions_ended_at", "sessions", ["user_id", "ended_at"])
    steps.create_index("ix_sessions_last_seen_at", "sessions", ["last_seen_at"])
    steps.create_index("ix_sessions_ended_at", "sessions", ["ended_at"])
    steps.create_table(
        "sandbox_codes",
        sa.Column("code_hash", sa.String(64), nullable=False),
        sa.Column("issued_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("code_hash", name="pk_sandbox_codes"),
    )
    steps.create_index("ix_sandbox_codes_issued_at", "sandbox_codes", ["issued_at"])


def downgrade() -> None:
    for table in ("sandbox_codes", "sessions", "known_networks", "wechat_identities", "passwords", "users"):
        steps.drop_table(table)
