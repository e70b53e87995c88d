"""What holds for every route, and the routes that every server has."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import pytest

from teahouse.problems import Problem
from teahouse.web.client import Answer, Client
from tests.journeys.people import Person, refused, well_formed
from tests.journeys.servers import Running, teahouse

CONTRACT = {
    "/v1/auth/wechat": {"post"},
    "/v1/auth/register": {"post"},
    "/v1/auth/password": {"post"},
    "/v1/auth/refresh": {"post"},
    "/v1/auth/logout": {"post"},
    "/v1/auth/sessions": {"get"},
    "/v1/auth/sessions/{id}": {"delete"},
    "/v1/auth/jwks.json": {"get"},
    "/v1/me": {"get", "put"},
    "/v1/users/{id}": {"get"},
    "/v1/products": {"get", "post"},
    "/v1/products/{id}": {"get", "put"},
    "/v1/sales": {"get", "post"},
    "/v1/sales/{id}": {"get"},
    "/v1/sales/{id}/purchases": {"post"},
    "/v1/sales/{id}/reconciliation": {"get"},
    "/v1/orders": {"get"},
    "/v1/orders/{id}": {"get"},
    "/v1/orders/{id}/cancel": {"post"},
}
OPEN = {
    "/v1/auth/wechat", "/v1/auth/register", "/v1/auth/password", "/v1/auth/refresh", "/v1/auth/jwks.json",
    "/v1/sandbox/codes",
}  # fmt: skip
OPEN_TO_READ = {"/v1/products", "/v1/products/{id}", "/v1/sales", "/v1/sales/{id}"}
CAMEL = re.compile(r"[a-z][a-zA-Z0-9]*")


@pytest.fixture
async def interface(client: Client) -> dict:
    """The OpenAPI document."""
    answer = await client.get("/openapi.json")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    return dict(answer.json())


def operations(interface: dict) -> list[tuple[str, str, dict]]:
    return [
        (method.upper(), path, operation)
        for path, methods in interface["paths"].items()
        for method, operation in methods.items()
    ]


def filled(path: str) -> str:
    return path.replace("{id}", "0" * 32)


async def test_the_document_is_openapi_3_1_and_names_every_route_of_the_contract(interface: dict):
    assert interface["openapi"].startswith("3.1")
    for path, methods in CONTRACT.items():
        assert methods <= set(interface["paths"][path]), path


def test_the_command_prints_the_document_that_is_served(house: Running, tmp_path: Path):
    with urllib.request.urlopen(f"{house.url}/openapi.json", timeout=20) as answer:
        interface = json.load(answer)
    done = teahouse("openapi", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == interface
    assert list(tmp_path.iterdir()) == []


async def test_every_name_on_the_wire_is_in_camel_case(interface: dict):
    names = {name for schema in interface["components"]["schemas"].values() for name in schema.get("properties", {})}
    parameters = {
        parameter["name"]
        for _, _, operation in operations(interface)
        for parameter in operation.get("parameters", [])
        if parameter["in"] != "header"
    }
    assert [name for name in names | parameters if not CAMEL.fullmatch(name)] == []


async def test_every_route_says_which_problems_it_may_answer_with(interface: dict):
    for method, path, operation in operations(interface):
        told = set(operation["responses"])
        if operation.get("security"):
            assert "401" in told, (method, path)
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= told, (method, path)
        if "{" in path:
            assert "404" in told, (method, path)
        if path != "/v1/auth/jwks.json" and method != "GET":
            assert "503" in told, (method, path)


async def test_every_route_that_is_not_open_asks_for_a_token(interface: dict, nobody: Person):
    for method, path, operation in operations(interface):
        if path in OPEN or (path in OPEN_TO_READ and method == "GET"):
            assert "security" not in operation
            continue
        assert operation["security"] == [{"bearer": []}], (method, path)
        refused(await nobody.ask(method, filled(path)), 401, "unauthorized")


async def test_every_answer_has_an_id_and_refusals_have_one_shape(interface: dict, nobody: Person, buyer: Person):
    for method, path, _ in operations(interface):
        for person in (nobody, buyer):
            if "logout" not in path:
                well_formed(await person.ask(method, filled(path)))
    for path in ("/healthz", "/readyz", "/metrics", "/docs", "/problems", "/nowhere", "/v1", "/v1/"):
        well_formed(await nobody.get(path))


async def test_the_callers_own_request_id_comes_back_unless_it_is_no_id(client: Client):
    answer = await client.get("/v1/nowhere", headers={"X-Request-Id": "ab-12.Z_~"})
    assert answer.headers["x-request-id"] == "ab-12.Z_~"
    for strange in ("", "a b", "x" * 65, '{"a":1}', "\u00e9"):
        made = (await client.get("/healthz", headers={"X-Request-Id": strange})).headers["x-request-id"]
        assert made != strange
        assert re.fullmatch(r"[\w.~-]{1,64}", made)


async def test_every_request_gets_an_id_of_its_own(client: Client):
    ids = {(await client.get("/healthz")).headers["x-request-id"] for _ in range(50)}
    assert len(ids) == 50


async def test_a_method_that_a_path_does_not_take_is_answered_with_those_it_takes(interface: dict, buyer: Person):
    for path, methods in interface["paths"].items():
        allowed = {method.upper() for method in methods}
        allowed |= {"OPTIONS"} | ({"HEAD"} if "GET" in allowed else set())
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - allowed:
            answer = await buyer.ask(method, filled(path))
            refused(answer, 405, "method-not-allowed")
            assert set(answer.headers["allow"].split(", ")) == allowed, (method, path)
        options = await buyer.ask("OPTIONS", filled(path))
        assert (options.status, set(options.headers["allow"].split(", "))) == (204, allowed)


async def test_head_answers_as_get_without_a_body(client: Client):
    for path in ("/healthz", "/docs", "/openapi.json", "/v1/products"):
        got, head = await client.get(path), await client.request("HEAD", path)
        assert (head.status, head.body) == (got.status, b"")
        assert head.headers["content-type"] == got.headers["content-type"]


@pytest.mark.parametrize("path", ["/nowhere", "/v1", "/v1/", "/v1/products/", "//v1/products", "/v1/me/x", "/V1/me"])
async def test_an_address_that_does_not_exist_is_not_found(client: Client, path: str):
    refused(await client.get(path), 404, "not-found")


async def test_a_patch_in_disguise_is_for_upload_routes_only(client: Client, buyer: Person):
    answer = await buyer.post("/v1/me", json={"nickname": "x"}, headers={"X-HTTP-Method-Override": "PATCH"})
    refused(answer, 405, "method-not-allowed")


async def test_the_server_is_alive_and_ready(client: Client):
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).json() == {"status": "ready"}


async def test_metrics_count_requests_by_route_and_status_and_name_nobody(client: Client, buyer: Person):
    await buyer.get(f"/v1/users/{buyer.id}")
    answer = await client.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    text = answer.body.decode()
    assert 'route="/v1/users/{id}"' in text
    assert buyer.id not in text
    for wanted in ("_bucket{", "process_resident_memory_bytes", "lag"):
        assert wanted in text


async def test_the_page_of_the_interface_names_every_route_and_loads_nothing(client: Client, interface: dict):
    answer = await client.get("/docs")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    page = answer.body.decode()
    assert [path for path in interface["paths"] if path not in page] == []
    assert "<script" not in page
    assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_every_problem_is_explained_at_its_own_address(client: Client):
    listed = {item["type"]: item for item in (await client.get("/problems")).json()["items"]}
    for slug, kind in Problem.vocabulary.items():
        if not kind.__module__.startswith("teahouse."):
            continue
        found = await client.get(f"/problems/{slug}")
        assert found.status == 200
        assert found.json() == listed[f"/problems/{slug}"]
        assert found.json()["status"] == kind.status
        page = await client.get(f"/problems/{slug}", headers={"Accept": "text/html"})
        assert page.headers["content-type"].startswith("text/html")
    refused(await client.get("/problems/no-such-problem"), 404, "not-found")
    refused(await client.get("/problems/%3Cscript%3E", headers={"Accept": "text/html"}), 404, "not-found")


async def test_a_problem_says_where_it_happened(client: Client):
    def instance(answer: Answer) -> str:
        return str(answer.json()["instance"])

    assert instance(await client.get("/nowhere?token=secret")) == "/nowhere"
    assert instance(await client.post("/v1/auth/wechat", json={})) == "/v1/auth/wechat"


async def test_no_web_page_may_call_from_a_browser_unless_it_was_let(client: Client):
    answer = await client.get("/v1/products", headers={"Origin": "https://elsewhere.example"})
    assert not [name for name in answer.headers if name.startswith("access-control-")]
