"""Real MariaDB and PostgreSQL servers on free ports and in private folders; a MariaDB primary with its replica.

Fixtures for them are in ``database_fixtures.py``. Nothing here needs an event loop: each call returns when the server
is really there, or really gone. The servers' defaults are poor on purpose (latin1, no strict mode, another time zone):
what Teahouse needs it has to ask for.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

DEADLINE_SECONDS = 60.0
USER, PASSWORD = "teahouse", "leaf"
_POSTGRES_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin")
_numbers = itertools.count(1)


def binary(name: str, *places: str) -> str:
    """Where a program is. Missing: the test is skipped, and with ``CI=true`` it fails."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    inside = [
        str(path / name) for place in places for path in sorted(Path("/").glob(place[1:])) if (path / name).exists()
    ]
    if found is None and not inside:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not installed")
    return found or inside[-1]


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def until(is_so: Callable[[], object], what: str, seconds: float = DEADLINE_SECONDS) -> None:
    """Looks again and again until it is so."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {seconds:g} s: {what}")
        time.sleep(0.02)


class DatabaseServer:
    """One server process in a folder of its own, made anew."""

    scheme = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._lent: list[str] = []

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def url(self, database: str) -> str:
        """Where a database of this server is, with the user and the password that it knows."""
        return f"{self.scheme}://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """An empty database; its name."""
        name = f"tea{next(_numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return name

    def lend(self) -> str:
        """The name of a database without a row in it; its tables may be there, which spares making them again."""
        return self._lent.pop() if self._lent else self.new_database()

    def take_back(self, database: str) -> None:
        """Empties what was lent."""
        self.empty(database)
        self._lent.append(database)

    def empty(self, database: str) -> None:
        """Deletes every row."""
        raise NotImplementedError

    def sql(self, statement: str, database: str = "") -> str:
        """What the server's own client prints; raises ``CalledProcessError``."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """What starts it."""
        raise NotImplementedError

    def start(self) -> None:
        """Returns when it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, **self.identity())
        until(self._answers, f"{self.scheme} answers: {self.folder}/log")

    def identity(self) -> dict[str, object]:
        """Who it runs as."""
        return {}

    def kill(self) -> None:
        """SIGKILL: as if the power went."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """It closes its files, without waiting for its clients."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
            self.process.wait(DEADLINE_SECONDS)
            self.process = None

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            pytest.fail(f"{self.scheme} ended: {self.log}")
        try:
            self.sql("SELECT 1")
        except subprocess.CalledProcessError:
            return False
        return True


class MariaDb(DatabaseServer):
    """``mariadbd``. ``options`` are its settings: ``log_bin="bin"``."""

    scheme = "mysql"

    def __init__(self, folder: Path, *, durable: bool = False, **options: str) -> None:
        super().__init__(folder)
        self._options = {
            "datadir": str(folder / "data"),
            "port": str(self.port),
            "socket": str(folder / "s"),
            "pid_file": str(folder / "pid"),
            "bind_address": "127.0.0.1",
            "user": "root" if os.geteuid() == 0 else _own_name(),
            "character_set_server": "latin1",
            "collation_server": "latin1_swedish_ci",
            "sql_mode": "",
            "default_time_zone": "+09:30",
            "innodb_buffer_pool_size": "32M",
            "innodb_log_file_size": "16M",
            "innodb_flush_log_at_trx_commit": "1" if durable else "0",
            "performance_schema": "OFF",
            "init_file": str(folder / "init.sql"),
            **options,
        }
        self._prepare()

    def _prepare(self) -> None:
        account = f"'{USER}'@'%' IDENTIFIED BY '{PASSWORD}'"
        (self.folder / "init.sql").write_text(
            f"SET sql_log_bin = 0;\nCREATE USER IF NOT EXISTS {account};\nGRANT ALL ON *.* TO '{USER}'@'%';\n"
        )
        own = ["--no-defaults", f"--user={self._options['user']}", f"--datadir={self._options['datadir']}"]
        quick = ["--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-flush-log-at-trx-commit=0"]
        subprocess.run(
            [binary("mariadb-install-db"), *own, *quick, "--innodb-buffer-pool-size=32M"],
            check=True,
            capture_output=True,
        )

    def command(self) -> list[str]:
        settings = (f"--{name.replace('_', '-')}={value}" for name, value in self._options.items())
        return [binary("mariadbd"), "--no-defaults", "--skip-name-resolve", *settings]

    def sql(self, statement: str, database: str = "") -> str:
        where = [
            f"--port={self.port}",
            "--host=127.0.0.1",
            "--protocol=tcp",
            f"--user={USER}",
            f"--password={PASSWORD}",
        ]
        words = [binary("mariadb"), "--no-defaults", *where, "--batch", "--skip-column-names", "--execute", statement]
        return subprocess.run([*words, database], check=True, capture_output=True, text=True, timeout=30).stdout

    def empty(self, database: str) -> None:
        deletes = "; ".join(f"DELETE FROM `{table}`" for table in self.sql("SHOW TABLES", database).split())
        self.sql(f"SET foreign_key_checks = 0; {deletes}", database)


class Postgres(DatabaseServer):
    """``postgres``. It refuses to be root, so it is the user ``postgres`` then."""

    scheme = "postgresql"

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        super().__init__(folder)
        self._durable = durable
        if self.identity():
            shutil.chown(folder, "postgres", "postgres")
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        account = [f"--username={USER}", f"--pwfile={secret}", "--auth=scram-sha-256"]
        words = [_postgres("initdb"), "--pgdata", str(folder / "data"), "--no-sync", "--locale=C", "--encoding=UTF8"]
        subprocess.run([*words, *account], check=True, capture_output=True, cwd=folder, **self.identity())

    def identity(self) -> dict[str, object]:
        return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}

    def command(self) -> list[str]:
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "fsync": "on" if self._durable else "off",
            "synchronous_commit": "on" if self._durable else "off",
            "full_page_writes": "on" if self._durable else "off",
            "timezone": "Australia/Darwin",
            "shared_buffers": "32MB",
            "max_connections": "100",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [_postgres("postgres"), "-D", str(self.folder / "data"), *words]

    def stop(self) -> None:
        # A polite end (SIGTERM) waits for every client; SIGINT does not.
        self._end(signal.SIGINT)

    def sql(self, statement: str, database: str = "postgres") -> str:
        where = [f"--port={self.port}", "--host=127.0.0.1", f"--username={USER}", f"--dbname={database}"]
        words = [_postgres("psql"), "--no-psqlrc", *where, "--tuples-only", "--no-align", "--command", statement]
        own = {**os.environ, "PGPASSWORD": PASSWORD}
        return subprocess.run(words, check=True, capture_output=True, text=True, env=own, timeout=30).stdout

    def empty(self, database: str) -> None:
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        each = f"FOR name IN {tables} LOOP EXECUTE format('DELETE FROM %I', name); END LOOP"
        whole = f"DECLARE name text; BEGIN SET LOCAL session_replication_role = replica; {each}; END"
        self.sql(f"DO $$ {whole} $$", database)


@contextmanager
def running(kind: Callable[..., DatabaseServer], **options: object) -> Iterator[DatabaseServer]:
    """A server of that kind, gone with its folder when the block ends."""
    # Not below pytest's folder: only its owner may enter that, and a socket's path may be 107 characters long.
    with tempfile.TemporaryDirectory(prefix="tea-", dir="/tmp", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        folder.chmod(0o755)
        server = kind(folder, **options)
        try:
            server.start()
            yield server
        finally:
            server.kill()


class Replication:
    """A primary and a replica that follows it by its own transaction ids (GTID)."""

    def __init__(self, primary: MariaDb, replica: MariaDb) -> None:
        self.primary = primary
        self.replica = replica

    def begin(self) -> None:
        """The replica follows from now on."""
        where = f"MASTER_HOST='127.0.0.1', MASTER_PORT={self.primary.port}, MASTER_CONNECT_RETRY=1"
        who = f"MASTER_USER='{USER}', MASTER_PASSWORD='{PASSWORD}', MASTER_USE_GTID=slave_pos"
        self.replica.sql(f"CHANGE MASTER TO {where}, {who}; START SLAVE")

    def caught_up(self) -> None:
        """Returns when the replica has everything that the primary has now."""
        position = self.primary.sql("SELECT @@gtid_current_pos").strip()
        assert self.replica.sql(f"SELECT MASTER_GTID_WAIT('{position}', 30)").strip() == "0"


@contextmanager
def replication() -> Iterator[Replication]:
    """A MariaDB primary and its replica."""
    with ExitStack() as stack:
        servers = []
        for number in (1, 2):
            options = {"server_id": str(number), "log_bin": "bin", "gtid_domain_id": "1", "slave_net_timeout": "5"}
            servers.append(stack.enter_context(running(MariaDb, **options)))
        pair = Replication(*servers)
        pair.begin()
        yield pair


def _postgres(name: str) -> str:
    return binary(name, *_POSTGRES_PLACES)


def _own_name() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name
