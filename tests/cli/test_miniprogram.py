"""The mini-program that ``teahouse init`` writes, played by Node where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PLAY = Path(__file__).with_name("miniprogram_client.js")


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node on the PATH")
def test_the_client_logs_in_once_renews_tokens_and_never_buys_twice(run, place: Path):
    run("init", "shop")
    environment = {**os.environ, "MINIPROGRAM": str(place / "shop/miniprogram")}
    done = subprocess.run(
        ["node", "--test", PLAY], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout
