"""The chat example's client, played by Node."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

PLAY = Path(__file__).with_name("chat_client.js")


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node on the PATH")
def test_the_client_loses_nothing_whatever_it_is_answered():
    environment = {**os.environ, "CLIENT": str(ROOT / "examples" / "chat" / "client.js")}
    command = ["node", "--test", PLAY]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# pass 9" in done.stdout
