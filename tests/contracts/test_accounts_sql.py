"""Users and sessions keep their promises on every engine."""

from tests.accounts.test_housekeeping import *  # noqa: F403  # the same promises, on the engines of this folder's accounts
from tests.accounts.test_sessions import *  # noqa: F403
