"""The load generator: wrk, pinned to a core of its own, and what it says."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.failures import BenchFailed
from bench.machine import pinned

LUA = Path(__file__).parent / "lua"
MARK = "bench-result "


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk is to send."""

    url: str
    connections: int
    seconds: float
    script: str
    arguments: tuple[str, ...] = ()
    allowance: float = 10.0
    """Seconds after the end that a hanging wrk gets before it is killed."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What wrk counted in one run."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    refused: int
    """Answers with a status of 400 or more."""
    broken: int
    """Connections that failed, and reads, writes and answers that never came."""


def require_wrk() -> None:
    """Installs wrk from the distribution when root may; else raises BenchFailed with what to do."""
    if shutil.which("wrk"):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", "wrk"]):
            subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if shutil.which("wrk") is None:
        raise BenchFailed("wrk is not installed: run `apt-get install wrk` as root (Debian, Ubuntu) and start again")


def run(load: Load, *, core: int) -> Answered:
    """Runs wrk to its end. Raises BenchFailed when it fails or reports nothing."""
    command = pinned(core, wrk_command(load))
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=load.seconds + load.allowance, check=False
        )
    except subprocess.TimeoutExpired as hung:
        raise BenchFailed(f"wrk did not end in time: {' '.join(command)}") from hung
    if done.returncode != 0:
        raise BenchFailed(f"wrk failed ({done.returncode}): {done.stderr.strip() or done.stdout.strip()}")
    return parse(done.stdout)


def wrk_command(load: Load) -> list[str]:
    """One thread: wrk has one core."""
    return [
        "wrk",
        "--threads=1",
        f"--connections={load.connections}",
        f"--duration={max(1, round(load.seconds))}s",
        "--timeout=5s",
        f"--script={LUA / load.script}",
        load.url,
        "--",
        *load.arguments,
    ]


def parse(output: str) -> Answered:
    """Reads the line that the Lua scripts print at the end. Raises BenchFailed when it is not there."""
    for line in output.splitlines():
        if line.startswith(MARK):
            return _answered(json.loads(line.removeprefix(MARK)))
    raise BenchFailed(f"wrk printed no result:\n{output.strip()}")


def _answered(result: dict[str, float]) -> Answered:
    return Answered(
        requests=int(result["requests"]),
        seconds=result["micros"] / 1e6,
        p50_ms=result["p50"] / 1e3,
        p99_ms=result["p99"] / 1e3,
        refused=int(result["refused"]),
        broken=int(result["broken"]),
    )
