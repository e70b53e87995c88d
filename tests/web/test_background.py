"""Work after the answer: started once the answer is out, finished or handed back, never dropped."""

from __future__ import annotations

import asyncio

import pytest

from teahouse.problems import Overloaded, ShuttingDown, SoldOut
from teahouse.web import App, Background, TestClient
from teahouse.web.background import BackgroundWorker, Work
from tests.web.specimen import Specimen
from tests.web.wire import eventually, get, request, serving


class Piece:
    """One piece of work whose end the test decides."""

    def __init__(self, *, fails: bool = False, hand_back_fails: bool = False) -> None:
        self.gate = asyncio.Event()
        self.fails = fails
        self.hand_back_fails = hand_back_fails
        self.log: list[str] = []

    async def run(self) -> None:
        self.log.append("started")
        await self.gate.wait()
        if self.fails:
            raise RuntimeError("the work failed")
        self.log.append("finished")

    async def hand_back(self) -> None:
        await asyncio.sleep(0)
        if self.hand_back_fails:
            raise RuntimeError("the hand-back failed")
        self.log.append("handed back")

    def work(self) -> Work:
        return Work(self.run, self.hand_back, "a piece")


def start(worker: BackgroundWorker, work: Work) -> None:
    worker.admit()
    worker.start([work])


async def test_work_starts_after_the_answer():
    specimen = Specimen()
    async with serving(specimen.app) as live:
        assert (await live.ask(request("POST", "/later", body=b""))).status == 202
        assert specimen.finished == []
        specimen.gate.set()
        await eventually(lambda: specimen.finished == ["work"])
        assert specimen.app.background.finished == 1


async def test_a_stop_waits_for_work_to_finish():
    specimen = Specimen()
    async with serving(specimen.app) as live:
        await live.ask(request("POST", "/later", body=b""))
        asyncio.get_running_loop().call_later(0.05, specimen.gate.set)
    assert specimen.finished == ["work"]


async def test_work_that_outlasts_the_stop_is_handed_back():
    specimen = Specimen()
    async with serving(specimen.app) as live:
        await live.ask(request("POST", "/later", body=b""))
        await specimen.app.shutdown(0.05)
        assert specimen.finished == ["handed back"]
        assert specimen.app.background.handed_back == 1


async def test_work_that_has_not_begun_when_the_stop_comes_is_handed_back():
    worker, piece = BackgroundWorker(), Piece()
    start(worker, piece.work())
    await worker.aclose(0)
    await eventually(lambda: worker.running == 0)
    assert piece.log in (["handed back"], ["started", "handed back"])


async def test_work_that_fails_is_handed_back_and_logged_once(caplog):
    worker, piece = BackgroundWorker(), Piece(fails=True)
    start(worker, piece.work())
    piece.gate.set()
    await eventually(lambda: worker.running == 0)
    assert piece.log == ["started", "handed back"]
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info


async def test_work_that_can_be_neither_finished_nor_handed_back_is_logged(caplog):
    worker, piece = BackgroundWorker(), Piece(hand_back_fails=True)
    start(worker, piece.work())
    await worker.aclose(0.05)
    assert [record.message for record in caplog.records] == ["background work 'a piece' could not be handed back"]


async def test_a_hand_back_that_hangs_ends_the_stop_in_time_and_is_logged(caplog):
    worker = BackgroundWorker()

    async def hang() -> None:
        await asyncio.Event().wait()

    start(worker, Work(hang, hang, "stuck"))
    async with asyncio.timeout(5):
        await worker.aclose(0.05)
    assert [record.message for record in caplog.records] == [
        "background work 'stuck' could be neither finished nor handed back in time"
    ]
    for task in list(worker._tasks):
        task.cancel()


async def test_nothing_is_taken_once_the_stop_has_begun():
    worker = BackgroundWorker()
    await worker.aclose(0)
    with pytest.raises(ShuttingDown):
        worker.admit()


async def test_too_much_work_is_refused_and_nothing_else_happens():
    worker = BackgroundWorker(limit=2)
    pieces = [Piece(), Piece()]
    background, taken = Background(worker, kept := []), []
    for piece in pieces:
        background.add(piece.run, hand_back=piece.hand_back)
        taken.append(piece)
    with pytest.raises(Overloaded):
        background.add(pieces[0].run, hand_back=pieces[0].hand_back)
    assert len(kept) == 2


async def test_handlers_that_wait_side_by_side_cannot_exceed_the_limit_together():
    app = App()
    app.background = BackgroundWorker(limit=5)
    gate, peak, entered, answer = asyncio.Event(), [], [], asyncio.Event()

    @app.post("/work", status=202)
    async def work(background: Background) -> dict[str, str]:
        async def run() -> None:
            peak.append(app.background.running)
            await gate.wait()

        entered.append("one more")
        background.add(run, hand_back=run)
        await answer.wait()
        return {}

    async with serving(app) as live:
        asking = asyncio.gather(*(live.ask(request("POST", "/work", body=b"")) for _ in range(20)))
        await eventually(lambda: len(entered) == 20)
        answer.set()
        assert sorted(reply.status for reply in await asking) == [202] * 5 + [503] * 15
        gate.set()
        await eventually(lambda: app.background.running == 0)
        assert max(peak) <= 5
        assert (await live.ask(request("POST", "/work", body=b""))).status == 202


async def test_work_of_a_handler_that_failed_is_dropped_and_its_room_given_back():
    app = App()
    app.background = BackgroundWorker(limit=1)
    ran: list[str] = []

    async def run() -> None:
        ran.append("run")

    @app.post("/refused")
    def refused(background: Background) -> dict[str, str]:
        background.add(run, hand_back=run)
        raise SoldOut

    @app.post("/broken")
    async def broken(background: Background) -> dict[str, object]:
        background.add(run, hand_back=run)
        return {"x": object()}

    @app.post("/good", status=202)
    def good(background: Background) -> dict[str, str]:
        background.add(run, hand_back=run)
        return {}

    async with TestClient(app) as client:
        for _ in range(3):
            assert (await client.post("/refused")).status == 409
            assert (await client.post("/broken")).status == 500
        assert ran == []
        assert (await client.post("/good")).status == 202
        await eventually(lambda: ran == ["run"])


async def test_work_accepted_by_a_handler_under_way_at_the_stop_is_not_dropped():
    specimen = Specimen()
    app = specimen.app

    @app.post("/slow-order", status=202)
    async def order(background: Background) -> dict[str, str]:
        async def run() -> None:
            specimen.finished.append("work")

        specimen.entered.append("order")
        background.add(run, hand_back=run)
        await specimen.gate.wait()
        return {}

    async with serving(app) as live:
        wire = await live.connect()
        wire.send(request("POST", "/slow-order", body=b""))
        await eventually(lambda: specimen.entered)
        asyncio.get_running_loop().call_later(0.05, specimen.gate.set)
        await live.server.stop(5)
        assert (await wire.reply()).status == 202
    assert specimen.finished == ["work"]


async def test_work_shows_in_the_metrics():
    specimen = Specimen()
    async with serving(specimen.app) as live:
        await live.ask(request("POST", "/later", body=b""))
        assert b"teahouse_background_running 1.0" in (await live.ask(get("/metrics"))).body
        specimen.gate.set()
        await eventually(lambda: specimen.app.background.running == 0)
        assert b'teahouse_background_total{outcome="finished"} 1.0' in (await live.ask(get("/metrics"))).body
