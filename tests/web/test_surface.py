"""What every app has of itself: its OpenAPI document, its pages, its metrics."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import pytest
from prometheus_client.parser import text_string_to_metric_families

from teahouse.batching import Batcher
from teahouse.problems import Problem
from teahouse.web import App, Response, TestClient, openapi
from teahouse.web.metrics import BatchCollector
from tests.web.specimen import Specimen


@pytest.fixture
async def client():
    async with TestClient(Specimen().app) as client:
        yield client


@pytest.fixture
async def document(client) -> dict[str, Any]:
    return (await client.get("/openapi.json")).json()


def references(node: Any):
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def operations(document: dict[str, Any]):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


async def test_the_document_is_openapi_3_1_with_its_title(document):
    assert document["openapi"].startswith("3.1.")
    assert document["info"] == {"title": "Specimen", "version": "1", "description": "For tests"}


async def test_hidden_routes_and_the_apps_own_pages_are_not_in_the_document(document):
    assert "/echo" not in document["paths"]
    assert "/metrics" not in document["paths"]
    assert "/baskets" in document["paths"]


async def test_every_operation_has_an_id_of_its_own_and_answers(document):
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    for path, _method, operation in operations(document):
        assert operation["responses"], path
        for status, answer in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d", status)
            assert answer["description"]


async def test_every_path_parameter_is_declared_and_required(document):
    for path, _method, operation in operations(document):
        names = set(re.findall(r"\{(\w+)\}", path))
        declared = [parameter for parameter in operation.get("parameters", ()) if parameter["in"] == "path"]
        assert {parameter["name"] for parameter in declared} == names
        assert all(parameter["required"] for parameter in declared)


async def test_every_reference_leads_somewhere(document):
    for reference in references(document):
        node = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
        assert node


async def test_every_schema_is_json_schema(document):
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    for _, _, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            jsonschema_rs.meta.validate(parameter["schema"])


async def test_schemas_judge_bodies_as_the_server_does(client, document):
    schema = {**document["components"]["schemas"]["Basket"], "components": document["components"]}
    validator = jsonschema_rs.validator_for(schema)
    good = {"lines": [{"productId": "p", "quantity": 2}]}
    for body in (
        good,
        {},
        {**good, "note": "n" * 201},
        {**good, "paidFen": "1"},
        {**good, "other": 1},
        {"lines": []},
        {"lines": [{"productId": "p", "quantity": 100}]},
    ):
        assert validator.is_valid(body) == ((await client.post("/baskets", json=body)).status == 201), body


async def test_signatures_problems_and_security_are_described(document):
    search = document["paths"]["/search"]["get"]["parameters"]
    assert [(item["name"], item["in"], item["required"]) for item in search] == [
        ("q", "query", True),
        ("limit", "query", False),
        ("inStock", "query", False),
        ("tags", "query", False),
    ]
    assert search[1]["schema"]["default"] == 20
    assert search[1]["schema"]["maximum"] == 100
    baskets = document["paths"]["/baskets"]["post"]
    assert baskets["summary"] == "Take a basket."
    assert baskets["tags"] == ["baskets"]
    assert baskets["requestBody"]["required"]
    assert {"201", "400", "409", "413", "415", "422"} <= set(baskets["responses"])
    assert "sold-out" in baskets["responses"]["409"]["description"]
    assert document["paths"]["/whoami"]["get"]["security"] == [{"bearer": []}]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert document["paths"]["/baskets/{id}"]["delete"]["responses"].keys() >= {"204"}
    header = document["paths"]["/headers"]["get"]["parameters"][0]
    assert (header["name"], header["in"], header["required"]) == ("Idempotency-Key", "header", True)


async def test_two_routes_that_differ_in_braces_only_have_different_ids():
    app = App()

    @app.get("/user/{id}")
    def one(id: str) -> dict[str, str]:  # the template's word
        return {"id": id}

    @app.get("/user/id")
    def other() -> dict[str, str]:
        return {}

    async with TestClient(app) as client:
        document = (await client.get("/openapi.json")).json()
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == 2


async def test_the_page_lists_every_operation_and_holds_no_script(client, document):
    answer = await client.get("/docs")
    page = answer.body.decode()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for path, _method, _operation in operations(document):
        assert path in page
    assert "<script" not in page


async def test_text_from_the_app_is_escaped_on_the_page():
    app = App(title="<img src=x>", description="<script>alert(1)</script>")

    @app.get("/x", summary="<b>bold</b>")
    def x() -> Response:
        return Response()

    async with TestClient(app) as client:
        page = (await client.get("/docs")).body.decode()
    assert "<script" not in page
    assert "<img" not in page
    assert "<b>bold" not in page


async def test_every_problem_is_explained_for_programs_and_for_people(client):
    listed = (await client.get("/problems")).json()["items"]
    assert {item["type"] for item in listed} == {f"/problems/{slug}" for slug in Problem.vocabulary}
    for slug, kind in Problem.vocabulary.items():
        answer = await client.get(f"/problems/{slug}")
        assert answer.json()["explanation"] == kind.explanation()
        page = await client.get(f"/problems/{slug}", headers={"Accept": "text/html,*/*"})
        assert page.headers["content-type"].startswith("text/html")
    assert (await client.get("/problems/no-such-problem")).status == 404
    assert b"sold-out" in (await client.get("/problems", headers={"Accept": "text/html"})).body


async def test_metrics_parse_and_count_what_was_asked(client):
    for _ in range(3):
        await client.get("/user/7")
    await client.get("/nowhere")
    await client.post("/user/7")
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
    counts = {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
        for sample in families["teahouse_http_requests"].samples
        if sample.name.endswith("_total")
    }
    assert counts["GET", "/user/{id}", "200"] == 3
    assert counts["*", "(unknown)", "404"] == 1
    assert counts["*", "(other method)", "405"] == 1
    buckets = [
        (float(sample.labels["le"]), sample.value)
        for sample in families["teahouse_http_request_seconds"].samples
        if sample.name.endswith("_bucket") and sample.labels["route"] == "/user/{id}"
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == (float("inf"), 3)
    assert {"teahouse_http_connections", "teahouse_event_loop_lag_seconds", "process_open_fds"} <= set(families)


async def test_batches_show_in_the_metrics():
    app = App()

    async def flush(calls: list[int]) -> list[int]:
        return calls

    async with TestClient(app) as client:
        batching: Batcher[int, int] = Batcher(flush, name="orders")
        app.metrics.register(BatchCollector([batching]))
        for count in (1, 3):
            futures = [batching.submit(number) for number in range(count)]
            for future in futures:
                await future
        text = (await client.get("/metrics")).body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = {(s.name, s.labels.get("le")): s.value for s in families["teahouse_batch_size"].samples}
    assert samples["teahouse_batch_size_bucket", "1"] == 1
    assert samples["teahouse_batch_size_bucket", "4"] == 2
    assert samples["teahouse_batch_size_count", None] == 2
    assert samples["teahouse_batch_size_sum", None] == 4


async def test_a_route_of_the_app_goes_before_the_kernels_page():
    app = App()

    @app.get("/healthz")
    def mine() -> dict[str, str]:
        return {"status": "mine"}

    async with TestClient(app) as client:
        assert (await client.get("/healthz")).json() == {"status": "mine"}


async def test_the_interfaces_document_and_page_are_made_once_and_not_for_everybody_who_asks(monkeypatch):
    made = []
    describe = openapi.describe
    monkeypatch.setattr(openapi, "describe", lambda app: made.append(app) or describe(app))
    async with TestClient(Specimen().app) as client:
        for path in ("/openapi.json", "/docs") * 3:
            assert (await client.get(path)).status == 200

    assert len(made) == 1
