"""What a process of this machine and its children use, from Linux's /proc (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from teahouse.load.plan import LoadFailed

_PROC = Path("/proc")
# Fields of /proc/<pid>/stat after the name, which may hold anything but ends with the last parenthesis.
_PARENT, _USER_TICKS, _SYSTEM_TICKS, _PAGES = 1, 11, 12, 21


class Usage(NamedTuple):
    """Resident memory, in bytes, and processor time, of all the processes together."""

    resident: int
    cpu_seconds: float


def usage_of(pid: int) -> Usage:
    """Of that process and all below it. Raises ``LoadFailed`` where it is not there."""
    stats = dict(_stats())
    if pid not in stats:
        raise LoadFailed(f"--pid: there is no process {pid} on this machine, or it has ended.")
    found = [stats[each] for each in _tree(pid, stats)]
    ticks = sum(int(stat[_USER_TICKS]) + int(stat[_SYSTEM_TICKS]) for stat in found)
    return Usage(
        sum(int(stat[_PAGES]) for stat in found) * os.sysconf("SC_PAGE_SIZE"), ticks / os.sysconf("SC_CLK_TCK")
    )


def _stats() -> Iterator[tuple[int, list[str]]]:
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                # It ended a moment ago.
                continue
            yield int(folder.name), text.rpartition(")")[2].split()


def _tree(pid: int, stats: dict[int, list[str]]) -> list[int]:
    children: dict[int, list[int]] = {}
    for each, stat in stats.items():
        children.setdefault(int(stat[_PARENT]), []).append(each)
    tree = [pid]
    for each in tree:
        tree += children.get(each, [])
    return tree
