"""An app that was stopped can be started again, as tests do with an app that a module holds."""

from __future__ import annotations

from teahouse.web import App, Background, TestClient


async def test_background_work_is_taken_again_after_a_restart() -> None:
    app = App()
    done: list[str] = []

    @app.post("/work", status=202)
    def work(background: Background) -> dict[str, str]:
        async def run() -> None:
            done.append("run")

        async def hand_back() -> None:
            done.append("handed back")

        background.add(run, hand_back=hand_back)
        return {}

    for _ in range(2):
        async with TestClient(app) as client:
            assert (await client.post("/work")).status == 202
    assert done == ["run", "run"]


async def test_each_metric_is_listed_once_after_a_restart() -> None:
    app = App()
    async with TestClient(app):
        pass
    async with TestClient(app) as client:
        metrics = (await client.get("/metrics")).body
    assert metrics.count(b"# TYPE teahouse_http_connections gauge\n") == 1
    assert metrics.count(b"# TYPE process_cpu_seconds_total counter\n") == 1
