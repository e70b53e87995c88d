"""Real Redis servers on free ports and in private folders: one alone, a Sentinel group, a Cluster.

Fixtures for them are in ``redis_fixtures.py``. Nothing here needs an event loop: a test may kill and restart from
anywhere; each call returns when the server is really there, or really gone.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis.connection import Connection
from redis.exceptions import RedisError

DEADLINE_SECONDS = 30.0
SENTINEL_NAME = "tea"
SLOTS = 16_384


def redis_binary() -> str:
    """Where ``redis-server`` is. Missing: the test is skipped, and with ``CI=true`` it fails."""
    found = shutil.which("redis-server")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("redis-server is not installed")
    return found


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def until(is_so: Callable[[], Any], what: str, seconds: float = DEADLINE_SECONDS) -> None:
    """Looks again and again until it is so; a server that cannot be asked yet counts as no."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(RedisError, OSError):
            if is_so():
                return
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {seconds:g} s: {what}")
        time.sleep(0.01)


class RedisServer:
    """One ``redis-server`` process. ``options`` are its settings: ``maxmemory="1mb"``, ``requirepass="…"``."""

    def __init__(self, folder: Path, *, aof: bool = False, port: int | None = None, **options: str) -> None:
        self.port = port or free_port()
        self.folder = folder
        self.password = options.get("requirepass")
        self.process: subprocess.Popen[bytes] | None = None
        self._options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "save": "",
            "appendonly": "yes" if aof else "no",
            "appendfsync": "always",
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        who = f":{self.password}@" if self.password else ""
        return f"redis://{who}127.0.0.1:{self.port}/0"

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "redis.log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Returns when it answers (or says that it is loading its data)."""
        self._run(*(word for name, value in self._options.items() for word in (f"--{name}", value)))

    def _run(self, *words: str) -> None:
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen([redis_binary(), *words], stdout=log, stderr=log)
        until(self._answers, f"redis-server on {self.port} answers: {self.folder}/redis.log")

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            pytest.fail(f"redis-server ended: {self.log}")
        try:
            return self.cli("PING") == "PONG"
        except RedisError as error:
            return str(error).startswith(("LOADING", "BUSY", "MASTERDOWN", "MISCONF"))

    def kill(self) -> None:
        """SIGKILL: as if the power went."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: it closes its files."""
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
            # A paused process does not notice SIGTERM.
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
            self.process.wait(DEADLINE_SECONDS)

    def cli(self, *args: str | bytes | float) -> Any:
        """One command over a connection of its own; the reply as it is, texts decoded."""
        connection = Connection(
            host="127.0.0.1", port=self.port, password=self.password, protocol=2, decode_responses=True,
            socket_timeout=10, socket_connect_timeout=10,
        )  # fmt: skip
        try:
            connection.send_command(*args)
            return connection.read_response()
        finally:
            connection.disconnect()

    def info(self, field: str) -> str:
        """One line of INFO: ``server.info("run_id")``."""
        lines = (line.partition(":") for line in self.cli("INFO").splitlines())
        return next(value for name, _, value in lines if name == field)


@contextmanager
def redis_server(folder: Path, *, aof: bool = False, port: int | None = None, **options: str) -> Iterator[RedisServer]:
    """A running server; ``aof=True`` writes each command to disk before it answers. Killed at the end."""
    server = RedisServer(folder, aof=aof, port=port, **options)
    with ExitStack() as stack:
        stack.callback(server.kill)
        server.start()
        yield server


class Sentinel(RedisServer):
    """One Sentinel, which rewrites its own configuration file."""

    def __init__(self, folder: Path, primary: RedisServer, *, down_after_ms: int = 500) -> None:
        super().__init__(folder)
        self._file = folder / "sentinel.conf"
        lines = (
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {folder}",
            f"sentinel monitor {SENTINEL_NAME} 127.0.0.1 {primary.port} 2",
            f"sentinel down-after-milliseconds {SENTINEL_NAME} {down_after_ms}",
            f"sentinel failover-timeout {SENTINEL_NAME} 3000",
        )
        self._file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def start(self) -> None:
        self._run(str(self._file), "--sentinel")

    def sees(self) -> dict[str, str]:
        """What it knows about the primary: ``ip``, ``port``, ``num-slaves``, ``num-other-sentinels``, …"""
        flat = self.cli("SENTINEL", "MASTER", SENTINEL_NAME)
        return dict(zip(flat[::2], flat[1::2], strict=True))


class SentinelGroup:
    """Two servers, one the other's replica, and three Sentinels that watch them."""

    def __init__(self, servers: Sequence[RedisServer], sentinels: Sequence[Sentinel]) -> None:
        self.servers = servers
        self.sentinels = sentinels

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SENTINEL_NAME}/0"

    @property
    def primary(self) -> RedisServer:
        """Whom the Sentinels name now."""
        port = int(self.sentinels[0].sees()["port"])
        return next(server for server in self.servers if server.port == port)

    @property
    def replica(self) -> RedisServer:
        primary = self.primary
        return next(server for server in self.servers if server is not primary)

    def settled(self) -> bool:
        """Whether every Sentinel knows the others and the replica, and the replica follows."""
        seen = [sentinel.sees() for sentinel in self.sentinels]
        known = all(each["num-other-sentinels"] == "2" and each["num-slaves"] == "1" for each in seen)
        return known and self.replica.info("master_link_status") == "up"


@contextmanager
def redis_sentinels(folder: Path, *, aof: bool = False, down_after_ms: int = 500) -> Iterator[SentinelGroup]:
    """A group that would fail over now. Killed at the end."""
    with ExitStack() as stack:
        primary = stack.enter_context(redis_server(folder / "one", aof=aof))
        replica = stack.enter_context(redis_server(folder / "two", aof=aof, replicaof=f"127.0.0.1 {primary.port}"))
        sentinels = []
        for number in range(3):
            (folder / f"sentinel-{number}").mkdir(parents=True)
            sentinel = Sentinel(folder / f"sentinel-{number}", primary, down_after_ms=down_after_ms)
            stack.callback(sentinel.kill)
            sentinel.start()
            sentinels.append(sentinel)
        group = SentinelGroup((primary, replica), sentinels)
        until(group.settled, "the Sentinels know each other and the replica")
        yield group


class RedisCluster:
    """Primaries that share the slots evenly, and the replicas of each."""

    def __init__(self, primaries: Sequence[RedisServer], replicas: Sequence[RedisServer]) -> None:
        self.primaries = primaries
        self.replicas = replicas

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.primaries)

    @property
    def servers(self) -> Sequence[RedisServer]:
        return (*self.primaries, *self.replicas)

    def owner(self, slot: int) -> RedisServer:
        """The primary that has the slot now, as the nodes that run see it."""
        for low, high, (_, port, *_), *_ in self._asked("CLUSTER", "SLOTS"):
            if low <= slot <= high:
                return next(server for server in self.servers if server.port == port)
        raise AssertionError(f"nobody has slot {slot}")

    def _asked(self, *command: str) -> Any:
        for server in self.servers:
            if server.process is not None and server.process.poll() is None:
                return server.cli(*command)
        raise AssertionError("no node runs")

    def slot(self, key: str) -> int:
        """The key's slot."""
        return int(self._asked("CLUSTER", "KEYSLOT", key))

    def move(self, slot: int, target: RedisServer) -> None:
        """Migrates the slot with its keys, as ``redis-cli --cluster reshard`` does."""
        source = self.owner(slot)
        source_id, target_id = source.cli("CLUSTER", "MYID"), target.cli("CLUSTER", "MYID")
        target.cli("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        while keys := source.cli("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.cli("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for server in (target, source, *self.primaries):
            server.cli("CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def settled(self) -> bool:
        """Whether every node knows all others, all slots are served and the replicas follow."""
        count = len(self.servers)
        states = [server.cli("CLUSTER", "INFO") for server in self.servers]
        known = all("cluster_state:ok" in state and f"cluster_known_nodes:{count}\r" in state for state in states)
        return known and all(replica.info("master_link_status") == "up" for replica in self.replicas)


@contextmanager
def redis_cluster(
    folder: Path, *, primaries: int = 3, replicas: int = 0, node_timeout_ms: int = 1000, **options: str
) -> Iterator[RedisCluster]:
    """A Cluster that serves every slot, with so many replicas for each primary. Killed at the end."""
    settings = {"cluster_enabled": "yes", "cluster_node_timeout": str(node_timeout_ms), **options}
    with ExitStack() as stack:
        servers = [
            # Its bus would be on port + 10000, which need not exist.
            stack.enter_context(redis_server(folder / f"node-{number}", cluster_port=str(free_port()), **settings))
            for number in range(primaries * (1 + replicas))
        ]
        cluster = RedisCluster(servers[:primaries], servers[primaries:])
        _meet(servers)
        for number, server in enumerate(cluster.primaries):
            first, after = SLOTS * number // primaries, SLOTS * (number + 1) // primaries
            server.cli("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
        for number, replica in enumerate(cluster.replicas):
            primary_id = cluster.primaries[number % primaries].cli("CLUSTER", "MYID")
            until(lambda to=replica, of=primary_id: of in to.cli("CLUSTER", "NODES"), "the nodes have met")
            until(lambda to=replica, of=primary_id: to.cli("CLUSTER", "REPLICATE", of), "a replica follows")
        until(cluster.settled, "the Cluster serves every slot")
        yield cluster


def _meet(servers: Sequence[RedisServer]) -> None:
    for number, server in enumerate(servers):
        server.cli("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        bus = server.cli("CONFIG", "GET", "cluster-port")[1]
        if number:
            servers[0].cli("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
