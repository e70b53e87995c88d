"""The SQL stock ledger, its orders and its reconciliation keep their promises on every engine."""

from tests.sales.test_orders import *  # noqa: F403  # the same promises, on the engines of this folder's shop
from tests.sales.test_purchases import *  # noqa: F403
from tests.sales.test_reconciliation import *  # noqa: F403
