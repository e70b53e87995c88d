"""What a check of ``doctor`` has to say."""

from __future__ import annotations

import enum
from typing import NamedTuple


class State(enum.Enum):
    """How bad it is; only BROKEN keeps the server from working."""

    GOOD = enum.auto()
    ODD = enum.auto()
    BROKEN = enum.auto()


class Finding(NamedTuple):
    """One line of the doctor's table."""

    check: str
    state: State
    says: str
