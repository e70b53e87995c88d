"""The chat's page in a real browser, against a real server that limits, dies and comes back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.examples.browser import CHROMIUM, Page, browser
from tests.processes import Served, served

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the PATH")

APP = "examples.chat.app:app"
BOTH_ONLINE = "document.querySelectorAll('.state.on').length === 2"
# What has been acknowledged, or told by the other, at the page's two people.
STORED = "[...document.querySelectorAll('section')].map((s) => s.querySelectorAll('li[data-id]:not(.waiting)').length)"
TEXTS = """[...document.querySelectorAll('section')].map((section) =>
    [...section.querySelectorAll('li[data-id]')].map((line) => line.firstChild.textContent.replace('mei: ', '')))"""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with browser(tmp_path / "browser") as found:
        yield found


def say(page: Page, person: int, *lines: str) -> None:
    for line in lines:
        form = f"document.querySelectorAll('form')[{person}]"
        page.evaluate(f"{form}.elements.text.value = {line!r}; {form}.requestSubmit()")


def stored(page: Page, count: int) -> None:
    page.until(f"({STORED}).every((each) => each === {count})")


def ports(server: Served) -> list[str]:
    realtime = re.search(r"ws://[^/\s]+:(\d+)", server.said)
    assert realtime is not None
    return ["--port", server.url.rpartition(":")[2], "--realtime-port", realtime[1]]


def test_two_people_talk_and_what_is_said_while_a_line_is_cut_comes_in_order(tmp_path: Path, page: Page):
    with served("--data-dir", str(tmp_path / "data"), APP, cwd=ROOT, TEAHOUSE_ACCESS_LOG="off") as server:
        page.open(f"{server.url}/chat")
        page.until(BOTH_ONLINE)
        say(page, 0, "one")
        stored(page, 1)
        page.evaluate("document.querySelectorAll('.cut')[1].click()")
        say(page, 0, "two", "three")
        stored(page, 3)
        assert page.evaluate(TEXTS) == [["one", "two", "three"]] * 2


def test_what_is_said_too_fast_is_sent_again_in_order(tmp_path: Path, page: Page):
    limits = {"TEAHOUSE_MESSAGES__FRAMES_BURST": "4", "TEAHOUSE_MESSAGES__FRAMES_PER_SECOND": "2"}
    with served("--data-dir", str(tmp_path / "data"), APP, cwd=ROOT, TEAHOUSE_ACCESS_LOG="off", **limits) as server:
        page.open(f"{server.url}/chat")
        page.until(BOTH_ONLINE)
        lines = [f"line {number}" for number in range(8)]
        say(page, 0, *lines)
        stored(page, 8)
        assert page.evaluate(TEXTS) == [lines, lines]


def test_who_was_away_until_the_token_had_run_out_comes_back_with_a_new_one(tmp_path: Path, page: Page):
    words = ["--data-dir", str(tmp_path / "data"), APP]
    settings = {"TEAHOUSE_ACCESS_LOG": "off", "TEAHOUSE_ACCOUNTS__ACCESS_TOKEN_SECONDS": "3"}
    with served(*words, cwd=ROOT, **settings) as server:
        page.open(f"{server.url}/chat")
        page.until(BOTH_ONLINE)
        same = ports(server)
        server.process.kill()
        server.process.wait()
    say(page, 0, "is anybody there?")
    # Its first attempts to get a new token find nobody.
    page.until("document.querySelector('.state').textContent.startsWith('no new token')")
    with served(*words, *same, cwd=ROOT, **settings):
        stored(page, 1)
