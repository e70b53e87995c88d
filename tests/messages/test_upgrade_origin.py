"""From which pages and programs sockets are opened."""

import msgspec
import pytest

from tests.messages.gateways import serving


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("https://tea.example", "tea.example", 101),
        ("https://TEA.example", "tea.EXAMPLE", 101),
        ("http://tea.example:8001", "tea.example:8001", 101),
        ("https://tea.example", "tea.example:443", 101),
        ("https://shop.example", "tea.example", 101),
        ("https://evil.example", "tea.example", 403),
        ("https://tea.example.evil.example", "tea.example", 403),
        ("http://127.0.0.1:8000", "127.0.0.1:8001", 101),
        ("http://[::1]:8000", "[::1]:8001", 101),
        ("http://127.0.0.1:8000", "127.0.0.2:8001", 403),
        ("null", "tea.example", 403),
        # Whatever the port: pages come from the port of HTTP, and proxies end TLS.
        ("http://tea.example:9", "tea.example:8001", 101),
        ("https://[", "tea.example", 403),
        ("", "tea.example", 403),
    ],
)
async def test_only_pages_of_this_host_or_of_a_named_origin_connect(origin: str, host: str, status: int):
    async with serving(origins=("https://shop.example",)) as served:
        answer = await served.ask(f"Origin: {origin}", f"Host: {host}", drop=("Host",))
        assert answer.status == status
        if status == 403:
            assert answer.problem == "forbidden"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        # https://github.com/wechat-miniprogram/minigame-unity-webgl-transform/issues/703
        ("weapp://wechat-game-runtime", 101),
        ("WEAPP://wechat-game-runtime", 101),
        ("capacitor://localhost", 101),
        ("ionic://localhost", 403),
        # Schemes by which pages are opened: that they name this host makes no page of it.
        ("ftp://tea.example", 403),
        ("chrome-extension://tea.example", 403),
        ("file://", 403),
        ("weapp", 403),
    ],
)
async def test_wechats_programs_connect_and_other_programs_where_they_are_named(origin: str, status: int):
    async with serving(origins=("capacitor://localhost",)) as served:
        answer = await served.ask(f"Origin: {origin}", "Host: tea.example", drop=("Host",))
        assert answer.status == status


async def test_a_page_that_may_not_connect_is_told_which_setting_lets_it():
    async with serving() as served:
        answer = await served.ask("Origin: https://evil.example")
        assert "cors.origins" in msgspec.json.decode(answer.body)["detail"]
