"""Redis and MariaDB for a measurement: started from the installed binaries in a private folder, weighed, stopped."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.exceptions import RedisError

from bench.failures import BenchFailed
from bench.machine import pinned
from bench.servers import Processes, free_port, tail, wait_for

REDIS_SETTINGS = {
    "bind": "127.0.0.1",
    "save": "",
    "appendonly": "yes",
    # A rewrite of the file in the middle of a round would be measured as somebody's work.
    "auto-aof-rewrite-percentage": "0",
    "loglevel": "warning",
}
FSYNCS = ("everysec", "always")
MARIADB_PACKAGE = "mariadb-server"
DATABASE = "teahouse"
PATIENCE = 60.0


class Engine(Processes):
    """A running engine: what it has used so far, and where it is."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, url: str) -> None:
        super().__init__(process)
        self.port = port
        self.url = url


class Redis(Engine):
    """A Redis server with its own connection for questions before and after the measured time."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        super().__init__(process, port, f"redis://127.0.0.1:{port}/0")
        self.ask = redis.Redis(port=port, socket_timeout=PATIENCE)

    def used_bytes(self) -> int:
        """What Redis says it holds, without the allocator's waste."""
        memory: Mapping[str, int] = self.ask.info("memory")
        return memory["used_memory"]


class MariaDB(Engine):
    """A MariaDB server with an empty database."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, socket: Path) -> None:
        super().__init__(process, port, f"mysql://teahouse@127.0.0.1:{port}/{DATABASE}")
        self._socket = socket

    def query(self, statement: str) -> str:
        """Runs a statement through the client and returns the lines it prints."""
        command = [_found("mariadb", MARIADB_PACKAGE), "--no-defaults", f"--socket={self._socket}", "--user=root"]
        done = subprocess.run(
            [*command, "--batch", "--skip-column-names", "--execute", statement],
            capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
        if done.returncode != 0:
            raise BenchFailed(f"MariaDB refused {statement!r}: {done.stderr.strip()}")
        return done.stdout.strip()

    def count(self, table: str, where: str) -> int:
        """How many rows of a table, named with its database, fulfil a condition."""
        return int(self.query(f"SELECT COUNT(*) FROM {table} WHERE {where}"))


@contextmanager
def redis_server(folder: Path, *, core: int, fsync: str = "everysec") -> Iterator[Redis]:
    """Redis with an append-only file on the disk of ``folder``; every program gets the same settings."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    settings = {**REDIS_SETTINGS, "appendfsync": fsync, "port": str(port), "dir": str(folder)}
    options = [part for name, value in settings.items() for part in (f"--{name}", value)]
    command = [_found("redis-server", "redis-server"), *options]
    with _running(command, folder, core) as process:
        server = Redis(process, port)
        _await(lambda: _pings(server), process, folder)
        try:
            yield server
        finally:
            server.ask.close()


@contextmanager
def mariadb_server(folder: Path, *, core: int) -> Iterator[MariaDB]:
    """MariaDB as it is installed, each commit on disk, on the disk of ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    data, socket, port = folder / "data", folder / "mariadb.sock", free_port()
    _install(data)
    command = [
        _found("mariadbd", MARIADB_PACKAGE), "--no-defaults", f"--datadir={data}", f"--socket={socket}",
        f"--port={port}", "--bind-address=127.0.0.1", "--character-set-server=utf8mb4",
        "--innodb-buffer-pool-size=512M", "--innodb-log-file-size=256M", *_account(),
    ]  # fmt: skip
    with _running(command, folder, core) as process:
        server = MariaDB(process, port, socket)
        _await(lambda: _answers(server), process, folder)
        server.query(
            f"CREATE DATABASE {DATABASE}; CREATE USER teahouse@127.0.0.1; GRANT ALL ON *.* TO teahouse@127.0.0.1"
        )
        yield server


def _install(data: Path) -> None:
    command = [_found("mariadb-install-db", MARIADB_PACKAGE), "--no-defaults", f"--datadir={data}", *_account()]
    done = subprocess.run(
        [*command, "--auth-root-authentication-method=normal", "--skip-test-db"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise BenchFailed(f"MariaDB's folder could not be made:\n{done.stdout}\n{done.stderr}")


def _account() -> Sequence[str]:
    """MariaDB runs as root only when told so."""
    return ["--user=root"] if os.geteuid() == 0 else []


def _found(program: str, package: str) -> str:
    # Debian keeps servers where a user's PATH does not lead.
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise BenchFailed(f"{program} is not installed: run `apt-get install {package}` as root (Debian, Ubuntu)")
    return found


@contextmanager
def _running(command: Sequence[str], folder: Path, core: int) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "output.log").open("ab") as output:
        process = subprocess.Popen(pinned(core, command), stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(is_so: Callable[[], bool], process: subprocess.Popen[bytes], folder: Path) -> None:
    def ready() -> bool:
        if process.poll() is not None:
            raise BenchFailed(f"{process.args[3]} ended at once:\n{tail(folder / 'output.log')}")
        return is_so()

    if not wait_for(ready, patience=PATIENCE):
        raise BenchFailed(f"an engine was not ready in {PATIENCE:g} s:\n{tail(folder / 'output.log')}")


def _pings(server: Redis) -> bool:
    try:
        return bool(server.ask.ping())
    except RedisError:
        return False


def _answers(server: MariaDB) -> bool:
    try:
        return server.query("SELECT 1") == "1"
    except BenchFailed:
        return False
