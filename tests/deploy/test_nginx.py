"""deploy/nginx.conf in a real nginx: what it passes on, what it stops, and what it says when nobody answers."""

from __future__ import annotations

import gzip
import json
import re
import socket
import socketserver
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.balancer import DEPLOY, balancer, free_port, nginx_binary

REPEATABLE = ["/v1/sales/1/purchases", "/v1/orders/1/cancel", "/v1/auth/refresh"]
NOT_REPEATABLE = ["/v1/products", "/v1/sales", "/v1/auth/register", "/v1/auth/wechat", "/submit"]


class Node:
    """Stands in for a node: answers with what it was asked, or as ``mood`` says, and remembers the requests."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.mood = "well"
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                node.asked.append(f"{self.command} {self.path}")
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if node.mood == "dies":
                    self.close_connection = True
                    return
                status = 503 if node.mood == "busy" else 200
                told = {"headers": dict(self.headers.items()), "size": len(body), "padding": "tea" * 1000}
                document = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(document)))
                self.send_header("X-Request-Id", "from-the-node")
                if status == 503:
                    self.send_header("Retry-After", "7")
                self.end_headers()
                self.wfile.write(document)

            do_GET = do_POST = answer  # noqa: N815  # the library's names

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]


@contextmanager
def nodes(count: int = 2) -> Iterator[list[Node]]:
    running = [Node() for _ in range(count)]
    for node in running:
        threading.Thread(target=node.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield running
    finally:
        for node in running:
            node.server.shutdown()
            node.server.server_close()


def ask(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, method=method, data=body, headers=fields)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_the_file_as_it_is_delivered_is_valid(tmp_path: Path):
    done = subprocess.run(
        [nginx_binary(), "-t", "-p", str(tmp_path), "-c", str(DEPLOY / "nginx.conf")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_a_caller_cannot_say_where_it_comes_from(tmp_path: Path):
    with nodes() as running, balancer(tmp_path / "nginx", [node.port for node in running]) as url:
        lies = {"X_Forwarded_For": "6.6.6.6", "X_Forwarded_Proto": "https", "Forwarded": "for=6.6.6.6"}
        _, _, body = ask(f"{url}/me", **lies)
        seen = json.loads(body)["headers"]
        assert (seen["X-Forwarded-For"], seen["X-Forwarded-Proto"]) == ("127.0.0.1", "http")
        assert "6.6.6.6" not in str(seen)
        assert "Connection" not in seen


def test_connections_to_the_nodes_are_kept(tmp_path: Path):
    with nodes() as running, balancer(tmp_path / "nginx", [node.port for node in running]) as url:
        opened: list[object] = []
        for node in running:
            accept = node.server.get_request
            node.server.get_request = lambda accept=accept: opened.append(1) or accept()  # type: ignore[method-assign]  # counted
        for _ in range(40):
            assert ask(f"{url}/me")[0] == 200
        # least_conn takes turns while nobody waits; nginx has a worker for each core, each with its own.
        assert len(opened) <= 20
        assert sum(len(node.asked) for node in running) == 40


@pytest.mark.parametrize("path", REPEATABLE)
@pytest.mark.parametrize("mood", ["dies", "busy"])
def test_a_post_that_is_safe_to_repeat_is_asked_of_the_other_node(tmp_path: Path, path: str, mood: str):
    with nodes() as running, balancer(tmp_path / "nginx", [node.port for node in running]) as url:
        running[0].mood = mood
        for _ in range(6):
            assert ask(url + path, "POST", b"{}")[0] == 200
        assert running[0].asked
        assert len(running[1].asked) == 6


@pytest.mark.parametrize("path", NOT_REPEATABLE)
def test_a_post_that_creates_something_is_sent_once(tmp_path: Path, path: str):
    with nodes() as running, balancer(tmp_path / "nginx", [node.port for node in running]) as url:
        running[0].mood = running[1].mood = "dies"
        status, headers, body = ask(url + path, "POST", b"{}")
        assert sum(len(node.asked) for node in running) == 1
        assert status == 503
        assert headers["Retry-After"] == "1"
        assert json.loads(body)["type"] == "/problems/outcome-unknown"


def test_a_post_that_creates_something_goes_to_the_node_that_is_there(tmp_path: Path):
    with nodes(1) as running, balancer(tmp_path / "nginx", [free_port(), running[0].port]) as url:
        for _ in range(6):
            assert ask(f"{url}/v1/products", "POST", b"{}")[0] == 200


def test_when_every_node_is_busy_the_caller_gets_a_nodes_own_answer_however_often(tmp_path: Path):
    with nodes() as running, balancer(tmp_path / "nginx", [node.port for node in running]) as url:
        running[0].mood = running[1].mood = "busy"
        for _ in range(10):
            for method, path in (("GET", "/v1/sales/1"), ("POST", REPEATABLE[0]), ("POST", "/v1/products")):
                status, headers, _ = ask(url + path, method, b"{}" if method == "POST" else None)
                assert (status, headers["Retry-After"], headers["X-Request-Id"]) == (503, "7", "from-the-node")
        running[0].mood = running[1].mood = "well"
        assert ask(f"{url}/v1/sales/1")[0] == 200


def test_without_any_node_there_is_a_problem_with_retry_after(tmp_path: Path):
    with balancer(tmp_path / "nginx", [free_port(), free_port()]) as url:
        status, headers, body = ask(f"{url}/v1/sales/1")
        assert (status, headers["Retry-After"]) == (503, "1")
        assert headers["Content-Type"] == "application/problem+json"
        assert headers["X-Request-Id"]
        assert headers["Server"] == "nginx"
        assert json.loads(body)["status"] == 503


def test_bodies_have_limits_and_uploads_larger_ones(tmp_path: Path):
    with nodes() as running, balancer(tmp_path / "nginx", [node.port for node in running]) as url:
        large = b"x" * (3 << 20)
        status, headers, body = ask(f"{url}/v1/products", "POST", large)
        assert (status, headers["Content-Type"]) == (413, "application/problem+json")
        assert json.loads(body)["type"] == "/problems/content-too-large"
        status, _, body = ask(f"{url}/v1/files", "POST", large)
        assert (status, json.loads(body)["size"]) == (200, len(large))


def test_json_is_compressed_but_not_beside_tokens(tmp_path: Path):
    with nodes() as running, balancer(tmp_path / "nginx", [node.port for node in running]) as url:
        _, headers, body = ask(f"{url}/v1/products", Accept_Encoding="gzip")
        assert headers["Content-Encoding"] == "gzip"
        assert json.loads(gzip.decompress(body))["padding"]
        for path in ("/v1/auth/password", "/v1/auth/refresh"):
            _, headers, body = ask(url + path, "POST", b"{}", Accept_Encoding="gzip")
            assert headers["Content-Encoding"] is None
            assert json.loads(body)["padding"]


def test_figures_are_not_for_everybody(tmp_path: Path):
    with nodes() as running, balancer(tmp_path / "nginx", [node.port for node in running]) as url:
        assert ask(f"{url}/metrics")[0] == 403
        assert not any(node.asked for node in running)


def test_the_log_has_a_json_line_without_the_query(tmp_path: Path):
    with nodes() as running:
        with balancer(tmp_path / "nginx", [node.port for node in running]) as url:
            ask(f"{url}/me?code=hidden-%22")
        lines = [line for line in (tmp_path / "nginx" / "said").read_text().splitlines() if line.startswith("{")]
    [line] = map(json.loads, lines)
    assert (line["method"], line["path"], line["status"]) == ("GET", "/me", 200)
    assert line["requestId"] == "from-the-node"
    assert line["upstream"].startswith("127.0.0.1:")
    assert "hidden" not in lines[0]


class _Echo(socketserver.BaseRequestHandler):
    """Switches protocols, then gives back what comes."""

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.request.recv(4096)
        assert re.search(rb"(?i)^upgrade: websocket\r$", head, re.MULTILINE)
        assert re.search(rb"(?i)^connection: upgrade\r$", head, re.MULTILINE)
        assert b"X-Forwarded-For: 127.0.0.1\r\n" in head
        self.request.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        while piece := self.request.recv(4096):
            self.request.sendall(piece)


def test_a_websocket_reaches_the_realtime_port(tmp_path: Path):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as realtime:
        realtime.daemon_threads = True
        threading.Thread(target=realtime.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        ports = [realtime.server_address[1]] * 2
        with balancer(tmp_path / "nginx", [free_port(), free_port()], realtime=ports) as url:
            address = ("127.0.0.1", int(url.rpartition(":")[2]))
            with socket.create_connection(address, timeout=20) as wire:
                wire.sendall(
                    b"GET /message HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                )
                assert wire.recv(4096).startswith(b"HTTP/1.1 101 ")
                wire.sendall(b"frame")
                assert wire.recv(4096) == b"frame"
        realtime.shutdown()
