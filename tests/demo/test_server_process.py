"""The demo's own server where it does not do as it should."""

from __future__ import annotations

import asyncio
import sys

import pytest

from teahouse.demo import DemoFailed
from teahouse.demo.server_process import OwnServer


async def a_child(code: str) -> OwnServer:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=asyncio.subprocess.PIPE)
    return OwnServer(process)


async def test_a_child_that_says_nothing_is_given_up():
    server = await a_child("import signal; signal.pause()")
    with pytest.raises(DemoFailed, match="not ready within"):
        await server.ready(within=0.2)
    await server.stop()
    assert server.status == -15


async def test_a_child_that_ends_is_told_with_its_last_words():
    server = await a_child("import sys; sys.exit('no tea today')")
    with pytest.raises(DemoFailed, match="no tea today"):
        await server.ready()
    await server.stop()
    assert server.status == 1


async def test_a_child_that_will_not_stop_is_killed():
    greeting = "import signal, sys; signal.signal(15, signal.SIG_IGN); print('x serves http://y', file=sys.stderr)"
    server = await a_child(f"{greeting}; sys.stderr.flush(); signal.pause()")
    await server.ready()
    assert server.url == "http://y"
    await server.stop(within=0.2)
    assert server.status == -9


async def test_where_its_sockets_are_is_read_from_its_greeting():
    server = await a_child("import sys; print('T serves http://y (its interface: /docs) and messages at '"
                           "'ws://z:1/message. Ctrl-C stops it.', file=sys.stderr)")  # fmt: skip
    await server.ready()
    await server.stop()
    assert (server.url, server.realtime_url) == ("http://y", "ws://z:1")


async def test_a_line_without_end_is_read_and_forgotten():
    noise = "import sys; sys.stderr.write('x' * 300_000 + chr(10) + 'T serves http://z' + chr(10))"
    server = await a_child(noise)
    await server.ready()
    await server.stop()
    assert (server.url, server.realtime_url) == ("http://z", "")
    assert "too long to be shown" in server.last_words
