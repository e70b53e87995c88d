"""A small server for tests that need a process of its own: ``python -m tests.web.served_app [SECONDS [DESCRIPTORS]]``.

It stops within that many seconds and begins with that limit of descriptors. It says its port on standard output, then
keeps its access log there.
"""

from __future__ import annotations

import asyncio
import resource
import sys

import uvloop

from teahouse.web import App, Background
from teahouse.web.serving import serve

app = App(title="Served")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def passing(seconds: float) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, over.set)
    await over.wait()


@app.get("/ping")
def ping() -> dict[str, str]:
    return {"message": "pong"}


@app.get("/slow/{seconds}")
async def slow(seconds: float) -> dict[str, float]:
    say("slow begun")
    await passing(seconds)
    return {"slow": seconds}


@app.post("/jobs/{seconds}", status=202)
def work(seconds: float, background: Background) -> dict[str, str]:
    async def run() -> None:
        await passing(seconds)
        say("work finished")

    async def hand_back() -> None:
        say("work handed back")

    background.add(run, hand_back=hand_back)
    return {}


@app.on_stop
async def stop() -> None:
    say("stop hook")


if __name__ == "__main__":
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    if len(sys.argv) > 2:
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    uvloop.run(
        serve(
            app,
            host="127.0.0.1",
            port=0,
            shutdown_seconds=seconds,
            access_log=sys.stdout.fileno(),
            on_ready=lambda port, _realtime_port: print(port, flush=True),
        )
    )
