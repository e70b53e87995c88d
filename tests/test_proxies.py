"""The proxy itself: a fault that it does not make would let a test pass for nothing."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import pytest

from tests.proxies import DOWN, UP, proxy_to


@pytest.fixture
def echo():
    """A server that sends back what it gets, and its end."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


@pytest.fixture
def proxy(echo):
    with proxy_to(echo) as proxy:
        yield proxy


@pytest.fixture
def client(proxy):
    with connected(proxy) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
        yield client


def connected(proxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout=5)


def test_a_cut_resets_what_is_open_and_lets_new_ones_in(proxy, client):
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    with connected(proxy) as another:
        another.sendall(b"again")
        assert another.recv(100) == b"again"


def test_a_refusing_proxy_takes_no_connection_until_it_accepts(proxy, client):
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connected(proxy)
    proxy.accept()
    with connected(proxy) as another:
        another.sendall(b"again")
        assert another.recv(100) == b"again"


@pytest.mark.parametrize("way", [UP, DOWN])
def test_swallowed_bytes_vanish_and_the_connection_stays(proxy, client, way):
    proxy.swallow(way)
    client.sendall(b"lost")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(100)
    assert proxy.lost[way] == 4
    proxy.carry()
    client.settimeout(5)
    client.sendall(b"heard")
    assert client.recv(100) == b"heard"


def test_a_delay_holds_each_piece_up(proxy, client):
    proxy.delay(0.2, DOWN)
    began = time.monotonic()
    client.sendall(b"late")
    assert client.recv(100) == b"late"
    assert time.monotonic() - began >= 0.2


def test_a_half_close_ends_one_way_only(proxy, client):
    proxy.half_close(DOWN)
    assert client.recv(100) == b""
    client.sendall(b"still")
    deadline = time.monotonic() + 5
    while proxy.carried[UP] < 10:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_connection_is_cut_once_so_much_was_carried(proxy, client):
    proxy.cut_when_carried(3, UP)
    client.sendall(b"four")
    assert client.recv(100) == b""
    with connected(proxy) as another:
        another.sendall(b"four more")
        assert another.recv(100) == b"four more"


def test_the_url_leads_through_the_proxy(proxy):
    assert proxy.through("redis://me:secret@10.0.0.1:6379/3") == f"redis://me:secret@127.0.0.1:{proxy.port}/3"
