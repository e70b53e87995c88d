"""Two nodes behind the real nginx are restarted one after the other, under load, and no request fails."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from teahouse.web.client import Client
from tests.databases import MariaDb
from tests.databases import running as database_server
from tests.journeys.balancer import DEPLOY, balancer, free_port
from tests.journeys.people import BOSS, PASSWORD, books, fresh, log_in_boss, put_on_sale
from tests.journeys.servers import Running, running, teahouse, until
from tests.redis_servers import redis_server

CALLERS = 6
STOCK = 1_000_000


class Kind(NamedTuple):
    """What the nodes serve, and how."""

    words: tuple[str, ...]
    settings: dict[str, str]


class Node:
    """One node on a port of its own, which it keeps when it is started again."""

    def __init__(self, directory: Path, kind: Kind, workers: int = 1) -> None:
        directory.mkdir()
        self.port = free_port()
        self.server: Running
        self._directory = directory
        self._kind = kind
        self._words = ("--port", str(self.port), "--workers", str(workers), *kind.words)
        self._life = ExitStack()

    def start(self) -> None:
        self.server = self._life.enter_context(running(self._directory, *self._words, **self._kind.settings))

    def stop(self) -> None:
        """SIGTERM; exit status 0, and nothing that looks like a mistake on standard error."""
        self._life.close()

    def kill(self) -> None:
        if hasattr(self, "server") and self.server.process.poll() is None:
            self.server.kill()

    @property
    def workers(self) -> set[int]:
        pid = self.server.process.pid
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


class Caller(threading.Thread):
    """Asks one thing after the other on a kept connection, and repeats nothing."""

    def __init__(self, url: str, ask: Callable[[http.client.HTTPConnection, int], None]) -> None:
        super().__init__(daemon=True)
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
        self._ask = ask
        self.answered = 0
        self.failed: list[str] = []
        self.enough = threading.Event()

    def run(self) -> None:
        while not self.enough.is_set() and len(self.failed) < 10:
            try:
                self._ask(self._connection, self.answered)
                self.answered += 1
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.failed.append(repr(error))
                self._connection.close()
        self._connection.close()


@contextmanager
def load(url: str, ask: Callable[[http.client.HTTPConnection, int], None]) -> Iterator[list[Caller]]:
    """Callers at work; at the end none of their requests may have failed."""
    callers = [Caller(url, ask) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        go_on(callers)
        yield callers
        go_on(callers)
    finally:
        for caller in callers:
            caller.enough.set()
        for caller in callers:
            caller.join(60)
    assert [caller.failed for caller in callers] == [[]] * CALLERS
    print(f"{sum(caller.answered for caller in callers)} requests")


def go_on(callers: list[Caller]) -> None:
    """Returns when every caller has had more answers."""
    before = {caller: caller.answered for caller in callers}
    until(lambda: all(caller.answered > before[caller] + 50 for caller in callers), "every caller gets answers")


def asked(
    wire: http.client.HTTPConnection, method: str, path: str, expected: int, body: object = None, **fields: str
) -> Any:
    data = None if body is None else json.dumps(body)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    wire.request(method, path, data, headers | {name.replace("_", "-"): value for name, value in fields.items()})
    answer = wire.getresponse()
    told = answer.read()
    assert answer.status == expected, (method, path, answer.status, told)
    return json.loads(told)


def greet(wire: http.client.HTTPConnection, number: int) -> None:
    """Of the little app: one GET, and one POST that nginx may not repeat."""
    assert asked(wire, "GET", f"/user/{number}", 200) == {"id": str(number)}
    body = {"name": "Lu Yu", "email": "lu@tea.example", "age": number % 100}
    assert asked(wire, "POST", "/submit", 201, body, Idempotency_Key=secrets.token_hex(8))["age"] == number % 100


class Buying:
    """Of the shop: everybody looks at the sale and buys one with a key of its own."""

    def __init__(self, sale: dict[str, Any], tokens: list[str]) -> None:
        self._path = f"/v1/sales/{sale['id']}"
        self._tokens = tokens
        self.orders: list[str] = []

    def __call__(self, wire: http.client.HTTPConnection, number: int) -> None:
        token = f"Bearer {self._tokens[number % len(self._tokens)]}"
        assert asked(wire, "GET", self._path, 200)["id"]
        bought = asked(
            wire,
            "POST",
            f"{self._path}/purchases",
            202,
            {"quantity": 1},
            Authorization=token,
            Idempotency_Key=secrets.token_hex(8),
        )
        self.orders.append(bought["orderId"])


@pytest.fixture
def little() -> Kind:
    """The three routes of examples/hello.py; it connects to no Redis, whatever the settings say."""
    settings = {"TEAHOUSE_REDIS__URL": "redis://127.0.0.1:1", "TEAHOUSE_DRAIN_SECONDS": "2"}
    return Kind(("hello:app",), settings)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Kind]:
    """All of Teahouse, on a Redis and a MariaDB that both nodes share."""
    with redis_server(tmp_path / "redis", aof=True) as redis, database_server(MariaDb) as database:
        settings = {
            "TEAHOUSE_REDIS__URL": redis.url,
            "TEAHOUSE_DATABASE__URL": database.url(database.new_database()),
            "TEAHOUSE_SECRET_KEY": secrets.token_hex(32),
            "TEAHOUSE_DRAIN_SECONDS": "2",
        }
        yield Kind((), settings)


@contextmanager
def nodes(tmp_path: Path, kind: Kind, *workers: int) -> Iterator[list[Node]]:
    both = [Node(tmp_path / f"node{number}", kind, count) for number, count in enumerate(workers, 1)]
    try:
        for node in both:
            if kind.words:
                example = DEPLOY.parent / "examples" / "hello.py"
                (tmp_path / f"node{both.index(node) + 1}" / "hello.py").write_text(example.read_text())
            node.start()
        yield both
        for node in both:
            node.stop()
    finally:
        for node in both:
            node.kill()


async def open_shop(tmp_path: Path, kind: Kind, url: str) -> tuple[Client, Any, dict[str, Any], Buying]:
    done = teahouse(
        "user", "create", BOSS, "--role", "admin", "--password-stdin", "--data-dir", "node1/data", cwd=tmp_path,
        stdin=PASSWORD, **kind.settings,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    client = Client(url, timeout=30)
    boss = await log_in_boss(client)
    sale = await put_on_sale(boss, stock=STOCK, perBuyerLimit=STOCK)
    tokens = []
    for _ in range(20):
        code = f"sandbox-{fresh()}-{secrets.token_hex(8)}"
        answer = await client.post("/v1/auth/wechat", json={"code": code})
        tokens.append(answer.json()["accessToken"])
    return client, boss, sale, Buying(sale, tokens)


def restart_one_after_the_other(both: list[Node], callers: list[Caller]) -> None:
    for node in both:
        node.stop()
        go_on(callers)
        node.start()
        go_on(callers)


def test_both_nodes_are_restarted_and_no_request_fails(tmp_path: Path, little: Kind):
    with nodes(tmp_path, little, 1, 1) as both, balancer(tmp_path / "nginx", [node.port for node in both]) as url:
        with load(url, greet) as callers:
            restart_one_after_the_other(both, callers)
        lines = answered_by(tmp_path / "nginx")
        assert set(lines) == {node.port for node in both}


def answered_by(directory: Path) -> dict[int, int]:
    """How many requests each node answered, by its port."""
    found: dict[int, int] = {}
    for port in re.findall(r'"upstream":"127\.0\.0\.1:(\d+)"', (directory / "said").read_text()):
        found[int(port)] = found.get(int(port), 0) + 1
    return found


def test_the_workers_of_a_node_are_replaced_and_no_request_fails(tmp_path: Path, little: Kind):
    with (
        nodes(tmp_path, little, 2, 2) as both,
        balancer(tmp_path / "nginx", [node.port for node in both]) as url,
        load(url, greet) as callers,
    ):
        replace_the_workers(both, callers)


def replace_the_workers(both: list[Node], callers: list[Caller]) -> None:
    for node in both:
        before = node.workers
        assert len(before) == 2
        node.server.process.send_signal(signal.SIGHUP)
        until(lambda: len(node.workers) == 2 and not before & node.workers, "every worker is new")  # noqa: B023
        go_on(callers)


async def test_the_shop_sells_on_while_both_of_its_nodes_are_restarted(tmp_path: Path, shop: Kind):
    with nodes(tmp_path, shop, 1, 1) as both, balancer(tmp_path / "nginx", [node.port for node in both]) as url:
        client, boss, sale, buying = await open_shop(tmp_path, shop, url)
        with load(url, buying) as callers:
            restart_one_after_the_other(both, callers)
        await everything_is_there(client, boss, sale, buying)


async def test_the_shop_sells_on_while_all_its_workers_are_replaced(tmp_path: Path, shop: Kind):
    with nodes(tmp_path, shop, 2, 2) as both, balancer(tmp_path / "nginx", [node.port for node in both]) as url:
        client, boss, sale, buying = await open_shop(tmp_path, shop, url)
        with load(url, buying) as callers:
            replace_the_workers(both, callers)
        await everything_is_there(client, boss, sale, buying)


async def everything_is_there(client: Client, boss: Any, sale: dict[str, Any], buying: Buying) -> None:
    found = await books(boss, sale)
    assert len(set(buying.orders)) == len(buying.orders)
    assert found["reserved"] == len(buying.orders)
    await client.aclose()
