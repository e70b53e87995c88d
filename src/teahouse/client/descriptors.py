"""Open files: every socket is one, and a process may have so many (getrlimit(2))."""

from __future__ import annotations

import resource


def allow_descriptors(wanted: int) -> int:
    """Raises this process's limit to that many where the system lets it; returns how many it may have of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
