"""What ``make run`` does: a server, the demo against it, then the server until somebody stops it.

``PORT`` (8000), ``REALTIME_PORT`` (8001) and ``DATA_DIR`` (./teahouse-data) choose where; ``ONCE=1`` ends with the
demo's exit status.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType

HOST = "127.0.0.1"
READY_WITHIN_SECONDS = 30.0
STOPS_WITHIN_SECONDS = 40.0
TEAHOUSE = Path(sys.executable).with_name("teahouse")

stopped = threading.Event()


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    port, realtime_port = _port("PORT", 8000), _port("REALTIME_PORT", 8001)
    data_dir = Path(os.environ.get("DATA_DIR") or "teahouse-data").absolute()
    url = f"http://{HOST}:{port}"
    server = _serve(port, realtime_port, data_dir)
    try:
        if not _ready(server, url):
            return 0 if stopped.is_set() else server.poll() or 1
        status = _demo(url, f"ws://{HOST}:{realtime_port}", data_dir)
        if stopped.is_set() or os.environ.get("ONCE") == "1":
            return 0 if stopped.is_set() else status
        print(f"\nTeahouse is up at {url} (its interface: {url}/docs). Ctrl-C stops it.", flush=True)
        return _until_stopped(server)
    finally:
        _end(server)


def _stop(_number: int, _frame: FrameType | None) -> None:
    stopped.set()


def _port(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        sys.exit(f"run: {name}={text} is not a port; use a number from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, int(text)))
        except OSError as error:
            sys.exit(
                f"run: port {text} cannot be used ({error.strerror}); choose another: make run {name}={int(text) + 100}"
            )
    return int(text)


def _serve(port: int, realtime_port: int, data_dir: Path) -> subprocess.Popen[bytes]:
    environment = dict(os.environ)
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    # The access log would run through the demo's progress display.
    environment.setdefault("TEAHOUSE_ACCESS_LOG", str(data_dir / "access.log"))
    command = [TEAHOUSE, "serve", "--host", HOST, "--port", str(port), "--realtime-port", str(realtime_port)]
    # A session of its own, so that Ctrl-C reaches the server once, from here, and it can finish its work.
    return subprocess.Popen([*command, "--data-dir", str(data_dir)], env=environment, start_new_session=True)


def _ready(server: subprocess.Popen[bytes], url: str) -> bool:
    pause = threading.Event()
    for _ in range(int(READY_WITHIN_SECONDS / 0.05)):
        if stopped.is_set():
            return False
        if server.poll() is not None:
            print("run: the server ended before it was ready; its message is above", file=sys.stderr)
            return False
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            pause.wait(0.05)
    print(f"run: the server was not ready within {READY_WITHIN_SECONDS:.0f} s; see {url}/readyz", file=sys.stderr)
    return False


def _demo(url: str, realtime_url: str, data_dir: Path) -> int:
    command = [TEAHOUSE, "demo", "--url", url, "--data-dir", str(data_dir), "--realtime-url", realtime_url]
    demo = subprocess.Popen(command, start_new_session=True)
    while demo.poll() is None:
        if stopped.wait(0.1):
            demo.terminate()
            demo.wait()
    return demo.returncode


def _until_stopped(server: subprocess.Popen[bytes]) -> int:
    while not stopped.wait(0.2):
        if server.poll() is not None:
            print("run: the server ended by itself; its message is above", file=sys.stderr)
            return server.returncode or 1
    return 0


def _end(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is not None:
        return
    server.terminate()
    try:
        server.wait(STOPS_WITHIN_SECONDS)
    except subprocess.TimeoutExpired:
        print("run: the server did not stop in time and was killed", file=sys.stderr)
        server.kill()
        server.wait()


if __name__ == "__main__":
    sys.exit(main())
