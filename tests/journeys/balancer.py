"""The real nginx with the very deploy/nginx.conf, in front of nodes on loopback."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.journeys.servers import until

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def nginx_binary() -> str:
    """Where nginx is. Missing: the test is skipped, and with ``CI=true`` it fails."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("nginx is not installed")
    return found


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def lay_out(directory: Path, port: int, nodes: Sequence[int], realtime: Sequence[int], idle_seconds: int) -> None:
    """deploy/nginx.conf as it is, and its two small files with these ports."""
    directory.mkdir()
    shutil.copy(DEPLOY / "nginx.conf", directory)
    (directory / "listen.conf").write_text(f"listen 127.0.0.1:{port};\n")
    text = (DEPLOY / "upstreams.conf").read_text()
    for number, (plain, live) in enumerate(zip(nodes, realtime, strict=True), 11):
        text = text.replace(f"172.30.0.{number}:8000", f"127.0.0.1:{plain}")
        text = text.replace(f"172.30.0.{number}:8001", f"127.0.0.1:{live}")
    text, changed = re.subn(r"keepalive_timeout 5s;", f"keepalive_timeout {idle_seconds}s;", text)
    assert changed == 1
    assert "172." not in re.sub(r"#.*", "", text)
    (directory / "upstreams.conf").write_text(text)


@contextmanager
def balancer(
    directory: Path, nodes: Sequence[int], *, realtime: Sequence[int] = (1, 2), idle_seconds: int = 1
) -> Iterator[str]:
    """Its address. ``nodes`` are ports; an idle connection to one is given up after ``idle_seconds``."""
    port = free_port()
    lay_out(directory, port, nodes, realtime, idle_seconds)
    command = [nginx_binary(), "-p", str(directory), "-c", str(directory / "nginx.conf"), "-g", "daemon off;" + _user()]
    with (directory / "said").open("wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        until(lambda: process.poll() is not None or _listens(port), "nginx listens", 10)
        assert process.poll() is None, (directory / "said").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _user() -> str:
    # The folders of tests are for their owner only.
    return " user root;" if os.geteuid() == 0 else ""


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
