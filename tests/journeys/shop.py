"""The command line and plain HTTP, as somebody outside uses them."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from pathlib import Path

from tests.processes import COMMAND

PASSWORD = "correct horse battery staple"


def teahouse(*words: str, cwd: Path, stdin: str | None = None) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TEAHOUSE_")}
    done = subprocess.run(
        [COMMAND, *words], cwd=cwd, env=clean, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def call(url: str, token: str | None = None, **body: object) -> dict:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)
