"""The machine and the versions that a figure belongs to, and how to keep to one core of it."""

import os
import platform
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from bench.failures import BenchFailed

PACKAGES = ("uvloop", "httptools", "msgspec", "SQLAlchemy", "aiosqlite", "PyJWT", "redis", "hiredis", "asyncmy")
MODULES = {
    "gin": "github.com/gin-gonic/gin",
    "go-redis": "github.com/redis/go-redis/v9",
    "rueidis": "github.com/redis/rueidis",
    "golang-jwt": "github.com/golang-jwt/jwt/v5",
}
SYNCS = 101


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


def busy_seconds(cores: Cores) -> float:
    """What the two cores have worked since the machine started, for whomever; time stolen by other guests included."""
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    ticks = {line[0]: [int(number) for number in line[1:9]] for line in lines if line[0].startswith("cpu")}
    both = [ticks[f"cpu{core}"] for core in (cores.server, cores.load)]
    # user nice system idle iowait irq softirq steal
    return sum(sum(each) - each[3] - each[4] for each in both) / os.sysconf("SC_CLK_TCK")


def describe(go_peer: Path, work: Path) -> dict[str, str]:
    """Machine and versions, by name, in the order in which to print them; ``work`` is on the disk that is measured."""
    return {
        "CPU": f"{cpu_model()}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "disk": f"{sync_ms(work):.2f} ms to write and sync 64 KiB (median of {SYNCS})",
        "Python": platform.python_version(),
        **{name: package(name) for name in PACKAGES},
        "Go": first_line(["go", "env", "GOVERSION"], go_peer).removeprefix("go"),
        **{
            name: first_line(["go", "list", "-m", "-f", "{{.Version}}", module], go_peer)
            for name, module in MODULES.items()
        },
        "Redis server": _redis_version(),
        "MariaDB": _mariadb_version(),
        "wrk": _wrk_version(),
    }


def sync_ms(folder: Path) -> float:
    """Median milliseconds until 64 KiB have reached the disk: what a durable answer waits for at least."""
    block, times = b"x" * 65_536, []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(SYNCS):
            begin = time.perf_counter()
            file.write(block)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begin)
    return median(times) * 1e3


def cpu_model() -> str:
    """What the processor calls itself."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def package(name: str) -> str:
    """The version of a Python package here."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _wrk_version() -> str:
    words = first_line(["wrk", "--version"], Path.cwd()).split()
    return words[1] if len(words) > 1 else "unknown"


def _redis_version() -> str:
    said = re.search(r"v=(\S+)", first_line(["redis-server", "--version"], Path.cwd()))
    return said[1] if said else "unknown"


def _mariadb_version() -> str:
    said = re.search(r"Ver (\S+)", first_line(["/usr/sbin/mariadbd", "--version"], Path.cwd()))
    return said[1] if said else "unknown"


def first_line(command: list[str], folder: Path) -> str:
    """What a program says first when it is started in that folder, or that it is not installed."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "not installed"
    return (done.stdout.splitlines() or ["unknown"])[0].strip()
