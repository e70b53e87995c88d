"""The SQL stock ledger's memory and its reconciliation keep their promises on every engine."""

from tests.sales.test_memory_sql import *  # noqa: F403  # the same promises, on the engines of this folder's shop
from tests.sales.test_reconciliation import *  # noqa: F403
