"""Shops of several nodes: real servers as children, each with a data directory of its own, on engines that may fail."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from teahouse.web.client import Client
from tests.databases import DatabaseServer
from tests.journeys.people import BOSS, PASSWORD
from tests.journeys.servers import Running, running, teahouse, until
from tests.redis_servers import RedisServer, free_port

# Everybody logs in from one address; a second on a slow machine is no attack.
_CALM = {
    "TEAHOUSE_ACCOUNTS__SESSIONS_PER_USER": "1000",
    "TEAHOUSE_ACCOUNTS__REGISTRATIONS_PER_ADDRESS": "1000000",
    "TEAHOUSE_ACCESS_LOG": "access.log",
}


class Node:
    """One node on ports that it keeps. Killed, it may be started again in the same directory."""

    def __init__(self, directory: Path, words: Sequence[str], settings: dict[str, str]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self.realtime_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._words = words
        self._settings = settings
        self._life = ExitStack()
        self.server: Running | None = None

    def start(self) -> None:
        """Returns when it is ready."""
        ports = ("--port", str(self.port), "--realtime-port", str(self.realtime_port))
        self.server = self._life.enter_context(running(self.directory, *ports, *self._words, **self._settings))

    def stop(self) -> None:
        """In order; it must end with status 0 and without a trace of a mistake."""
        self._life.close()

    def kill(self) -> None:
        """SIGKILL for each of its processes."""
        assert self.server is not None
        for process in (self.server.process.pid, *self.workers):
            os.kill(process, signal.SIGKILL)
        self.server.process.wait(30)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command beside it, with its settings and its data."""
        return teahouse(*words, "--data-dir", "data", cwd=self.directory, **self._settings)

    @property
    def said(self) -> str:
        """What it wrote to its standard error in its present life."""
        assert self.server is not None
        return self.server.said

    @property
    def workers(self) -> list[int]:
        """The process ids of its workers; none where it is one process."""
        assert self.server is not None
        children = Path(f"/proc/{self.server.process.pid}/task/{self.server.process.pid}/children")
        return [int(each) for each in children.read_text().split()]


class Shop:
    """Nodes on one Redis and one database. ``redis`` and ``database`` are asked directly, past every proxy."""

    def __init__(self, nodes: Sequence[Node], redis: RedisServer, database: DatabaseServer, name: str) -> None:
        self.nodes = list(nodes)
        self.redis = redis
        self.database = database
        self.name = name

    def rows(self, query: str) -> list[list[str]]:
        """What the database answers."""
        said = self.database.sql(query, self.name)
        separator = "\t" if self.database.scheme == "mysql" else "|"
        return [line.split(separator) for line in said.splitlines() if line]

    def unrecorded(self) -> int:
        """How many entries of the log wait for the recorder, or were taken and not finished."""
        return sum(int(self.redis.cli("XLEN", f"teahouse:{{{shard}}}:log")) for shard in "0123456789abcdef")

    def pending(self) -> int:
        """How many entries a recorder took and did not finish."""
        logs = [f"teahouse:{{{shard}}}:log" for shard in "0123456789abcdef"]
        there = [log for log in logs if self.redis.cli("EXISTS", log)]
        return sum(int(self.redis.cli("XPENDING", log, "recorder")[0]) for log in there)


@contextmanager
def shop_of(
    directory: Path,
    redis: RedisServer,
    database: DatabaseServer,
    *,
    nodes: int = 2,
    workers: int = 1,
    redis_urls: Sequence[str] = (),
    database_url: str = "",
    words: Sequence[str] = (),
    **settings: str,
) -> Iterator[Shop]:
    """A shop with an admin, ready to sell; its nodes are stopped in order at the end.

    ``redis_urls`` is where each node finds Redis, ``database_url`` (with the name of a database that it may make as
    ``{name}``) where all find the database; both default to the engines themselves.
    """
    name = database.new_database()
    common = {
        **_CALM,
        "TEAHOUSE_SECRET_KEY": secrets.token_hex(32),
        "TEAHOUSE_DATABASE__URL": (database_url or database.url("{name}")).replace("{name}", name),
        **{key: value.replace("{name}", name) for key, value in settings.items()},
    }
    urls = redis_urls or [redis.url] * nodes
    with ExitStack() as stack:
        made = [
            Node(
                directory / f"node{place}",
                [*words, "--workers", str(workers)],
                {**common, "TEAHOUSE_REDIS__URL": urls[place]},
            )
            for place in range(nodes)
        ]
        _hire_boss(made[0], {**common, "TEAHOUSE_REDIS__URL": urls[0]})
        for node in made:
            stack.callback(node.stop)
            node.start()
        yield Shop(made, redis, database, name)


def _hire_boss(node: Node, settings: dict[str, str]) -> None:
    words = ("user", "create", BOSS, "--role", "admin", "--password-stdin", "--data-dir", "data")
    done = teahouse(*words, cwd=node.directory, stdin=PASSWORD, **settings)
    assert done.returncode == 0, done.stderr


def client_of(node: Node) -> Client:
    """A client that waits long enough to tell a slow answer from none."""
    return Client(node.url, connections=64, timeout=20)


__all__ = ["Node", "Shop", "client_of", "shop_of", "until"]
