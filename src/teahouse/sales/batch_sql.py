"""One batch of the stock ledger as rows, and how it is written."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection

from teahouse.sales.orders_sql import write_moves, write_placed
from teahouse.sales.payments_sql import write_payments
from teahouse.sales.sales_sql import sign_batch, write_sales, write_tallies

Rows = list[dict[str, Any]]


class Overtaken(Exception):
    """Somebody else has written to the ledger's tables."""


class Batch(msgspec.Struct, frozen=True):
    """Everything that one transaction writes, in values of its own: it is written in another thread.

    ``last`` is the name of the batch before it.
    """

    last: str
    name: str
    opened: Rows
    placed: Rows
    moves: Rows
    payments: Rows
    tallies: Rows

    def write(self, connection: Connection) -> None:
        """All of it, inside a transaction. Raises ``Overtaken`` and ``IntegrityError``; then it has to be undone."""
        if not sign_batch(connection, last=self.last, name=self.name):
            raise Overtaken("somebody else has written to the stock ledger's tables")
        if self.opened:
            write_sales(connection, self.opened)
        if self.placed:
            write_placed(connection, self.placed)
        if self.moves and not write_moves(connection, self.moves):
            raise Overtaken("somebody else has changed orders")
        if self.payments:
            write_payments(connection, self.payments)
        if self.tallies:
            write_tallies(connection, self.tallies)
