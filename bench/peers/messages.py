"""The servers that Teahouse's messages are measured against: built or installed from published packages."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.failures import BenchFailed
from bench.machine import first_line
from bench.peers import build

HERE = Path(__file__).parent
HUB = HERE / "messages-hub"
CENTRIFUGO = HERE / "centrifugo"
WS = HERE / "messages-ws"
GORILLA = "gorilla/websocket hub"
STORING = "gorilla/websocket hub, storing"
"""The hub with every message in SQLite, on disk before it is passed on."""
CENTRIFUGO_NAME = "Centrifugo"
NODE = "Node ws hub"
CENTRIFUGO_MODULE = "github.com/centrifugal/centrifugo/v6"
MODULES = {
    "gorilla/websocket": (HUB, "github.com/gorilla/websocket"),
    "go-sqlite3": (HUB, "github.com/mattn/go-sqlite3"),
    "Centrifugo": (CENTRIFUGO, CENTRIFUGO_MODULE),
}


@dataclass(frozen=True, slots=True)
class Programs:
    """What there is to start."""

    hub: Path
    centrifugo: Path
    node: Path


def build_messages(folder: Path) -> Programs:
    """Builds all of them into the folder. Raises BenchFailed."""
    return Programs(
        build(HUB, folder / "messages-hub"),
        build(CENTRIFUGO, folder / "centrifugo", package=CENTRIFUGO_MODULE),
        _installed(folder / "messages-ws"),
    )


def versions() -> dict[str, str]:
    """Of the programs, by name."""
    modules = {
        name: first_line(["go", "list", "-m", "-f", "{{.Version}}", module], folder)
        for name, (folder, module) in MODULES.items()
    }
    ws = first_line(["node", "-p", "require('./package.json').dependencies.ws"], WS)
    return {**modules, "Node": first_line(["node", "--version"], WS), "ws": ws}


def _installed(folder: Path) -> Path:
    """The hub on ``ws``, its package beside it."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise BenchFailed(f"{program} is not installed: the hub on ws needs Node 20 or newer and npm")
    folder.mkdir(parents=True, exist_ok=True)
    for file in WS.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    command = ["npm", "ci", "--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchFailed(f"npm cannot install {WS.name}:\n{done.stderr.strip()}")
    return folder / "hub.mjs"
