"""What every table shares: the names of constraints, and how text is kept and compared."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, event

# utf8mb4 holds every character, 4 bytes long at most; its _bin collation tells ``ab`` from ``AB``.
MYSQL_OPTIONS = {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


# One row, written on the primary a few times a second; how far it is behind on a replica is that replica's lag.
heartbeat = Table(
    "replication_heartbeat",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("beat", BigInteger, nullable=False),
    Column("beaten_at", BigInteger, nullable=False, comment="Unix milliseconds by the primary's clock"),
)


def mysql_keywords() -> dict[str, Any]:
    """``MYSQL_OPTIONS`` as keywords of a ``Table``, for either name of the dialect."""
    return {f"{name}_{key}": value for name in ("mysql", "mariadb") for key, value in MYSQL_OPTIONS.items()}


@event.listens_for(metadata, "before_create")
def _keep_text_exact(_metadata: MetaData, _connection: Any, *, tables: list[Table], **_kept: Any) -> None:
    for table in tables:
        for key, value in mysql_keywords().items():
            table.kwargs.setdefault(key, value)
