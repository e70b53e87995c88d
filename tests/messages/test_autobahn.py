"""The cases of the Autobahn test suite, against what the gateway's sockets are under their frames."""

from __future__ import annotations

import asyncio

from kosoku import FailureError, run_fuzzingclient

from tests.messages.echoing import echoing

# Compression, which is not offered here.
OTHERS = ("12.*", "13.*")
STRICT = ("OK", "INFORMATIONAL")


async def test_every_case_of_the_autobahn_suite_passes_strictly():
    async with echoing() as port, asyncio.timeout(120):
        try:
            results = await run_fuzzingclient(f"ws://127.0.0.1:{port}", exclude_cases=OTHERS, concurrency=4)
        except FailureError as error:
            results = error.results
    assert len(results) == 301
    loose = [
        (each.case_id, each.behavior.value, each.behavior_close.value)
        for each in results
        if each.behavior.value not in STRICT or each.behavior_close.value not in STRICT
    ]
    assert loose == []
