"""How long a client waits before it comes back."""

from __future__ import annotations

import random
from collections.abc import Iterator


def pauses(*, attempts: int = 8, first: float = 0.25, longest: float = 5.0) -> Iterator[float]:
    """Seconds to wait before each attempt: up to ``first``, then up to twice as long each time, up to ``longest``.

    Half of each is chance, so that a crowd whose sockets were closed together does not come back together.
    """
    for attempt in range(attempts):
        yield min(first * 2.0**attempt, longest) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, no secret
