"""Column types that mean the same on every database."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.dialects import mysql


def exact(length: int) -> String:
    """Text that is compared byte by byte, on MySQL too."""
    return String(length).with_variant(
        mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
    )
