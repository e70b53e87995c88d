"""What one connection may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds.

    A head must arrive whole within ``head_seconds``; a body and an answer must move at least once in ``body_seconds``
    and ``write_seconds``. A kept connection may be silent for ``idle_seconds``. More than ``connections`` at once are
    turned away with 503.
    """

    head_bytes: int = 1024 * 1024
    head_seconds: float = 5.0
    head_fields: int = 1000
    body_bytes: int = 1024 * 1024
    body_seconds: float = 5.0
    write_seconds: float = 5.0
    idle_seconds: float = 75.0
    linger_seconds: float = 2.0
    linger_bytes: int = 16 * 1024 * 1024
    connections: int = 10_000
    pipelined: int = 64
