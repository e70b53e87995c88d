"""The machine and the versions that a figure belongs to, and how to keep to one core of it."""

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.failures import BenchFailed

PACKAGES = ("uvloop", "httptools", "msgspec", "SQLAlchemy", "aiosqlite", "PyJWT")


@dataclass(frozen=True, slots=True)
class Cores:
    """The core of the servers and the core of the load."""

    server: int
    load: int


def two_cores() -> Cores:
    """The first and the last core this process may use. Raises BenchFailed when there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise BenchFailed("the bench needs two cores: one for the server, one for the load")
    return Cores(server=allowed[0], load=allowed[-1])


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """The command, kept to one core: Go's GOMAXPROCS follows it."""
    return ["taskset", "--cpu-list", str(core), *command]


def describe(go_peer: Path) -> dict[str, str]:
    """Machine and versions, by name, in the order in which to print them."""
    return {
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{name: _package(name) for name in PACKAGES},
        "Go": _first_line(["go", "env", "GOVERSION"], go_peer).removeprefix("go"),
        "gin": _first_line(["go", "list", "-m", "-f", "{{.Version}}", "github.com/gin-gonic/gin"], go_peer),
        "wrk": _wrk_version(),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _wrk_version() -> str:
    words = _first_line(["wrk", "--version"], Path.cwd()).split()
    return words[1] if len(words) > 1 else "unknown"


def _first_line(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "not installed"
    return (done.stdout.splitlines() or ["unknown"])[0].strip()
