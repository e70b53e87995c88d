"""Headless Chromium, spoken to through a pipe (the DevTools protocol): no port, no driver."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DEADLINE_SECONDS = 40.0
_READS, _WRITES = 3, 4


class Page:
    """One page. Methods fail after a deadline."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._unread = b""
        self._count = 0
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, script: str, seconds: float = DEADLINE_SECONDS) -> Any:
        """The expression's value, once it is true."""
        deadline = time.monotonic() + seconds
        while not (value := self.evaluate(script)):
            assert time.monotonic() < deadline, f"never: {script}: {self.evaluate('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        call: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if hasattr(self, "_session"):
            call["sessionId"] = self._session
        os.write(self._to, json.dumps(call).encode() + b"\0")
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (answer := self._next(deadline)).get("id") != self._count:
            pass
        assert "result" in answer, answer
        return dict(answer["result"])

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._from], [], [], max(deadline - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            chunk = os.read(self._from, 65536)
            assert chunk, "the browser is gone"
            self._unread += chunk
        text, _, self._unread = self._unread.partition(b"\0")
        return dict(json.loads(text))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A browser with a profile of its own in that folder."""
    assert CHROMIUM is not None
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    # It reads calls from descriptor 3 and writes answers to 4.
    script = f'exec "$@" {_READS}<&{to_read} {_WRITES}>&{from_write}'
    command = ["bash", "-c", script, "-", CHROMIUM, *words, "--remote-debugging-pipe", f"--user-data-dir={folder}"]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, pass_fds=(to_read, from_write), **streams) as process:  # type: ignore[call-overload]
        os.close(to_read)
        os.close(from_write)
        try:
            yield Page(to_write, from_read)
        finally:
            process.terminate()
            os.close(to_write)
            os.close(from_read)
