"""A command that plays against a server, until it is done or told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import click

Result = TypeVar("Result")

_INTERRUPTED, _TERMINATED = 130, 143


def run_interruptible(work: Coroutine[Any, Any, Result]) -> Result:
    """Its result. Ctrl-C and SIGTERM cancel it, and the command exits with 130 or 143 when it has ended in order."""
    import uvloop

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_until_terminated(work))
    except KeyboardInterrupt:
        click.echo("teahouse: stopped", err=True)
        raise SystemExit(_INTERRUPTED) from None
    except asyncio.CancelledError:
        click.echo("teahouse: stopped", err=True)
        raise SystemExit(_TERMINATED) from None


async def _until_terminated(work: Coroutine[Any, Any, Result]) -> Result:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work
