"""How to start Teahouse for a measurement: as a user would, from its command."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.failures import BenchFailed
from bench.servers import Plan, file_name, free_port

COMMAND = Path(sys.executable).with_name("teahouse")


def hello(name: str, folder: Path) -> Plan:
    """The example with three routes, its access log on."""
    return _serve(name, folder, "examples.hello:app")


def whole(name: str, folder: Path) -> Plan:
    """The whole server on the embedded default: SQLite in ``folder``."""
    return _serve(name, folder)


def on_engines(name: str, folder: Path, environment: Mapping[str, str]) -> Plan:
    """The whole server on the engines that the variables name."""
    return _serve(name, folder, environment=environment)


def realtime_port(plan: Plan) -> int:
    """Where the WebSockets of a planned server are."""
    return int(plan.command[plan.command.index("--realtime-port") + 1])


def migrate(folder: Path, environment: Mapping[str, str]) -> None:
    """Brings the database's schema up to date through the command line. Raises BenchFailed when it cannot."""
    _command(["migrate", "--data-dir", str(_data(folder))], environment)


def create_admin(folder: Path, username: str, password: str, environment: Mapping[str, str] | None = None) -> None:
    """Creates an administrator through the command line, beside the running server."""
    words = ["user", "create", username, "--role", "admin", "--password-stdin", "--data-dir", str(_data(folder))]
    _command(words, environment, password)


def _command(words: Sequence[str], environment: Mapping[str, str] | None = None, given: str = "") -> None:
    done = subprocess.run(
        [str(COMMAND), *words],
        input=given, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})},
    )  # fmt: skip
    if done.returncode != 0:
        raise BenchFailed(f"teahouse {words[0]} failed:\n{done.stderr.strip()}")


def _serve(name: str, folder: Path, *app: str, environment: Mapping[str, str] | None = None) -> Plan:
    if not COMMAND.exists():
        raise BenchFailed("the teahouse command is not installed here: run `make setup`")
    port, stem = free_port(), file_name(name)
    log = folder / f"{stem}-access.log"
    log.touch()
    command = [str(COMMAND), "serve", "--port", str(port), "--realtime-port", str(free_port())]
    return Plan(
        name,
        [*command, "--data-dir", str(_data(folder)), *app],
        port,
        "/readyz",
        folder / f"{stem}-output.log",
        log,
        {"TEAHOUSE_ACCESS_LOG": str(log), **(environment or {})},
    )


def _data(folder: Path) -> Path:
    return folder / "teahouse-data"
