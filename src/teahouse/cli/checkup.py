"""What ``doctor`` looks at. Each check is one function that yields what it found and changes nothing."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import stat
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from teahouse import datadir, migrations
from teahouse.cli.checkup_redis import redis
from teahouse.cli.findings import Finding, State
from teahouse.engines.sql import ReplicaState, database_on
from teahouse.problems import DatabaseUnavailable
from teahouse.settings import Settings, SettingsError, wechat_mode

_ROOM_WANTED = 1 << 30
_ROOM_NEEDED = 100 << 20
# Nothing of this version can have run before it was written.
_EARLIEST = 1_767_225_600
_LATEST = 4_102_444_800
_FUTURE_SECONDS = 60
_SPARE_DESCRIPTORS = 100


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Every check, in the order in which to mend things."""
    yield Finding("settings", State.GOOD, "every value is known and fits")
    for finding in (*wechat(settings), *directory(settings.data_dir), *keys(settings), *clock(settings.data_dir)):
        yield finding
    async for finding in database(settings):
        yield finding
    async for finding in redis(settings):
        yield finding
    for finding in (*ports(settings), *descriptors(settings.http.connections)):
        yield finding


def wechat(settings: Settings) -> Iterator[Finding]:
    """Who answers WeChat logins."""
    try:
        mode = wechat_mode(settings)
    except SettingsError as error:
        yield Finding("wechat", State.BROKEN, str(error))
        return
    if mode == "platform":
        yield Finding("wechat", State.GOOD, f"appid {settings.wechat.appid} at {settings.wechat.base_url}")
    elif settings.wechat.sandbox:
        yield Finding("wechat", State.ODD, "the sandbox is switched on: anybody can log in as anybody; for tests only")
    else:
        yield Finding("wechat", State.GOOD, "the sandbox stands in, reachable from this machine only")


def directory(path: Path) -> Iterator[Finding]:
    """The data directory: ours, private, with room."""
    if not path.exists():
        yield Finding("data directory", State.GOOD, f"{path} is not there yet; the first start makes it")
        path = next(parent for parent in path.absolute().parents if parent.exists())
    if not path.is_dir() or not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("data directory", State.BROKEN, f"{path} cannot be written to; mend its owner and mode")
        return
    if path.name and stat.S_IMODE(path.stat().st_mode) & 0o002 and not path.stat().st_mode & stat.S_ISVTX:
        yield Finding("data directory", State.BROKEN, f"everybody may write to {path}; run: chmod o-w {path}")
    free = shutil.disk_usage(path).free
    state = State.BROKEN if free < _ROOM_NEEDED else State.ODD if free < _ROOM_WANTED else State.GOOD
    advice = "" if state is State.GOOD else "; make room before it is full"
    yield Finding("data directory", state, f"{path} has {free >> 20} MiB free{advice}")


def keys(settings: Settings) -> Iterator[Finding]:
    """The keys that sign tokens."""
    if not settings.secret_key and not (settings.data_dir / datadir.KEY_FILE).exists():
        yield Finding("secret key", State.GOOD, "not there yet; the first start makes one")
        return
    try:
        count = len(datadir.signing_keys(settings))
    except SettingsError as error:
        yield Finding("secret key", State.BROKEN, str(error))
    else:
        yield Finding("secret key", State.GOOD, f"one signs, {count - 1} older still verify")


def clock(path: Path) -> Iterator[Finding]:
    """The time: sessions, sales and tokens all hang on it."""
    now = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    newest = max((file.stat().st_mtime for file in _files(path)), default=0.0)
    if not _EARLIEST < now < _LATEST:
        yield Finding("clock", State.BROKEN, f"it says {shown}, which cannot be; set it, or install chrony")
    elif newest > now + _FUTURE_SECONDS:
        yield Finding("clock", State.BROKEN, f"it says {shown}, but {path} was written later than that; set the clock")
    else:
        yield Finding("clock", State.GOOD, f"{shown}; compare it with a watch")


def _files(path: Path) -> list[Path]:
    if not os.access(path, os.R_OK | os.X_OK):
        return []
    return [file for file in path.iterdir() if file.is_file()]


async def database(settings: Settings) -> AsyncIterator[Finding]:
    """The engine and its schema."""
    if not settings.database.url and not (settings.data_dir / "teahouse.db").exists():
        yield Finding("database", State.GOOD, "not there yet; the first start makes it")
        return
    engine = database_on(settings)
    try:
        await engine.ping()
        at = await migrations.current(engine)
        replicas = await engine.look_at_replicas()
    except DatabaseUnavailable as error:
        # A time-out has no words of its own.
        cause = next(iter(str(error.__cause__ or "").splitlines()), "") or "it gives no answer"
        yield Finding("database", State.BROKEN, f"cannot be read: {cause}")
        return
    finally:
        await engine.aclose()
    yield Finding("database", State.GOOD, f"{engine.dialect} answers")
    if at == migrations.head():
        yield Finding("schema", State.GOOD, f"up to date at {at}")
    else:
        says = f"at {at or 'nothing'}, this version needs {migrations.head()}; run: teahouse migrate"
        yield Finding("schema", State.ODD if at is None or at < migrations.head() else State.BROKEN, says)
    for replica in replicas:
        yield replica_finding(replica, settings.database.replica_lag_seconds)


def replica_finding(replica: ReplicaState, allowed: float) -> Finding:
    """A replica, and whether it may be ``allowed`` seconds behind."""
    if replica.state == "healthy":
        return Finding("replica", State.GOOD, f"{replica.host} follows the primary")
    if replica.lag_seconds is None:
        says = f"{replica.host} is {replica.state}; until it is mended the primary answers for it"
    else:
        says = (
            f"{replica.host} is {replica.lag_seconds:.1f} s behind, more than {allowed:g}; the primary answers for it"
        )
    return Finding("replica", State.ODD, says)


def ports(settings: Settings) -> Iterator[Finding]:
    """The ports: free, or held by the server that this data directory belongs to."""
    running = _is_running(settings.data_dir)
    for key, port in (("port", settings.port), ("realtime_port", settings.realtime_port)):
        reason = _refusal(settings.host, port)
        if reason is None:
            yield Finding(key, State.GOOD, f"{port} is free on {settings.host}")
        elif running:
            yield Finding(key, State.GOOD, f"{port} is taken, and a Teahouse is running on this data directory")
        else:
            yield Finding(key, State.BROKEN, f"{settings.host}:{port}: {reason}; stop what uses it, or set {key}")


def _is_running(path: Path) -> bool:
    if not (path / datadir.LOCK_FILE).exists():
        return False
    try:
        with datadir.locked(path):
            return False
    except SettingsError:
        return True


def _refusal(host: str, port: int) -> str | None:
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return None
    except OSError as error:
        return error.strerror or str(error)


def descriptors(connections: int) -> Iterator[Finding]:
    """How many files and sockets the process may hold; serve raises its own limit as far as it may."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _SPARE_DESCRIPTORS
    if hard in (resource.RLIM_INFINITY, -1) or hard >= needed:
        yield Finding("descriptors", State.GOOD, f"enough for {connections} connections")
    else:
        says = f"the limit is {hard}, http.connections needs {needed}; raise it (LimitNOFILE=, ulimit -Hn)"
        yield Finding("descriptors", State.ODD, says)
