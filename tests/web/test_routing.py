"""From an address to a route, whatever the address looks like."""

from __future__ import annotations

import time

import pytest

from teahouse.problems import BadRequest
from teahouse.web import App, Request, Response, TestClient
from teahouse.web.routing import Route, Router
from tests.web.specimen import Specimen
from tests.web.wire import eventually, get, request, serving


def _router(*templates: str) -> Router:
    router = Router()
    for template in templates:
        router.add(Route("GET", template, lambda: None))
    return router


def _found(router: Router, path: str) -> tuple[str, list[str]] | None:
    found = router.find(path)
    return None if found is None else (found[0]["GET"].template, list(found[1]))


def test_a_literal_goes_before_a_parameter():
    router = _router("/user/{id}", "/user/me", "/user/{id}/orders", "/user/me/orders")
    assert _found(router, "/user/me") == ("/user/me", [])
    assert _found(router, "/user/you") == ("/user/{id}", ["you"])
    assert _found(router, "/user/me/orders") == ("/user/me/orders", [])


def test_a_parameter_gets_what_the_literal_cannot_finish():
    router = _router("/a/b/c/{x}", "/a/{y}/d/{z}", "/{w}/b/e/{v}")
    assert _found(router, "/a/b/c/1") == ("/a/b/c/{x}", ["1"])
    assert _found(router, "/a/b/d/1") == ("/a/{y}/d/{z}", ["b", "1"])
    assert _found(router, "/a/b/e/1") == ("/{w}/b/e/{v}", ["a", "1"])
    assert _found(router, "/a/b/f/1") is None


def test_backtracking_forgets_the_values_of_the_way_it_gave_up():
    router = _router("/a/{x}/{y}/end", "/{p}/b/c/other")
    assert _found(router, "/a/b/c/other") == ("/{p}/b/c/other", ["a"])


def test_backtracking_through_many_segments_stays_quick():
    templates = [
        f"/{'/'.join('a' if number >> bit & 1 else f'{{p{bit}}}' for bit in range(10))}" for number in range(1024)
    ]
    router = Router()
    for template in templates:
        router.add(Route("GET", template + "/end", lambda: None))
    began = time.process_time()
    assert router.find("/a" * 10 + "/nowhere") is None
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/user/a%20b", "a b"),
        ("/user/%E8%8C%B6", "茶"),
        ("/user/a%2Fb", "a/b"),
        ("/user/%2F", "/"),
        ("/user/%25", "%"),
        ("/user/a+b", "a+b"),
        ("/user/a%", "a%"),
        ("/user/a%zz", "a%zz"),
        ("/user/..", ".."),
        ("/user/%2e%2e", ".."),
        ("/user/a;v=1", "a;v=1"),
        ("/user/%F0%9F%8D%B5", "🍵"),
    ],
)
def test_segments_are_decoded_after_they_are_split(path, value):
    assert _found(_router("/user/{id}"), path) == ("/user/{id}", [value])


@pytest.mark.parametrize("path", ["/user/%FF", "/user/%C3%28", "/user/%ED%A0%80", "/user/%00", "/user/a%00b", "/%FF"])
def test_a_path_that_is_not_utf_8_or_holds_a_null_is_a_bad_request(path):
    with pytest.raises(BadRequest):
        _router("/user/{id}").find(path)


def test_an_encoded_literal_is_the_literal():
    assert _found(_router("/ping", "/user/{id}"), "/p%69ng") == ("/ping", [])
    assert _found(_router("/user/{id}/orders"), "/us%65r/1/%6frders") == ("/user/{id}/orders", ["1"])


def test_what_does_not_begin_with_a_slash_is_no_path_of_ours():
    assert _found(_router("/{x}", "/ping"), "xping") is None


def test_an_encoded_slash_never_becomes_a_separator():
    assert _found(_router("/a/b"), "/a%2Fb") is None
    assert _found(_router("/{x}", "/a/b"), "/a%2fb") == ("/{x}", ["a/b"])


@pytest.mark.parametrize(
    "path", ["/user/", "/user", "/user//", "//user/1", "/user/1/", "", "*", "/User/1", "/ping/", "//ping"]
)
def test_an_address_that_is_only_nearly_right_is_not_found(path):
    assert _found(_router("/user/{id}", "/ping"), path) is None


def test_the_root_is_a_route_like_any_other():
    assert _found(_router("/", "/{x}"), "/") == ("/", [])


@pytest.mark.parametrize("template", ["ping", "/a{id}", "/{Id}", "/{}", "/{a}b", "/{1}"])
def test_a_malformed_template_is_refused_at_registration(template):
    with pytest.raises(ValueError, match=r"."):
        _router(template)


def test_the_same_method_twice_on_one_path_is_refused():
    with pytest.raises(ValueError, match="already"):
        _router("/ping", "/ping")


def test_one_place_with_two_parameter_names_keeps_each_routes_own():
    app = App()

    @app.get("/orders/{order_id}")
    def read(order_id: str) -> dict[str, str]:
        return {"read": order_id}

    @app.delete("/orders/{id}")
    def drop(id: str) -> dict[str, str]:
        return {"drop": id}

    app.compile()
    methods, params = app.router.find("/orders/7")
    assert sorted(methods) == ["DELETE", "GET"]
    assert params == ["7"]


@pytest.mark.parametrize(
    "path", ["/user" + "/a" * 250_000, "/" * 500_000, "/" + "%41/" * 150_000, "/" + "%41" * 170_000]
)
def test_an_enormous_path_costs_little(path):
    router = _router("/user/{id}", "/user/{id}/orders", "/ping")
    began = time.process_time()
    router.find(path)
    assert time.process_time() - began < 0.3


async def test_405_names_the_methods_that_there_are():
    async with TestClient(Specimen().app) as client:
        answer = await client.post("/user/7")
        assert answer.status == 405
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
        assert answer.json()["type"] == "/problems/method-not-allowed"
        assert (await client.get("/baskets/7")).headers["allow"] == "DELETE, OPTIONS"
        assert (await client.request("PROPFIND", "/ping")).status == 405


async def test_options_names_the_methods_that_there_are():
    async with TestClient(Specimen().app) as client:
        answer = await client.request("OPTIONS", "/user/7")
        assert (answer.status, answer.headers["allow"], answer.body) == (204, "GET, HEAD, OPTIONS", b"")
        assert (await client.request("OPTIONS", "/nowhere")).status == 404


async def test_options_asterisk_asks_about_the_server():
    async with serving(Specimen().app) as live:
        reply = await live.ask(request("OPTIONS", "*"))
        assert reply.status == 204
        assert {"GET", "POST", "HEAD", "OPTIONS"} <= set(reply.headers["allow"].split(", "))
        assert (await live.ask(request("GET", "*"))).status == 404


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://tea.example/user/7", 200),
        ("http://tea.example:8000/user/7?x=/y", 200),
        ("https://user:word@tea.example/user/7", 200),
        ("http://tea.example", 404),
        ("http://tea.example?x=1", 404),
        ("http:///user/7", 404),
        ("http://", 404),
        ("tea.example/user/7", 400),
        ("http://tea.example/user/%FF", 400),
    ],
)
async def test_a_proxys_absolute_form_names_the_same_routes(target, status):
    async with serving(Specimen().app) as live:
        reply = await live.ask(get(target))
    assert reply.status == status


async def test_the_absolute_form_of_a_very_long_address_is_read_whole():
    async with serving(Specimen().app) as live:
        long = "a" * 140_000
        assert (await live.ask(get(f"http://tea.example/user/{long}?q=1"))).json() == {"id": long}
        # 65536 is where a 16-bit offset would begin anew.
        assert (await live.ask(get(f"http://{'h' * 65_530}/user/7"))).json() == {"id": "7"}


async def test_head_is_get_without_the_body():
    async with serving(Specimen().app) as live:
        wire = await live.connect()
        for path in ("/ping", "/turns/3", "/big/100000", "/nowhere", "/boom"):
            wire.send(get(path))
            whole = await wire.reply()
            wire.send(request("HEAD", path))
            head = await wire.reply(head_only=True)
            assert head.status == whole.status
            assert head.headers["content-length"] == str(len(whole.body))
            assert head.headers.get("content-type") == whole.headers.get("content-type")


async def test_a_head_route_of_its_own_sends_no_body_either():
    app = App()

    @app.route("HEAD", "/files/{id}")
    def head(id: str) -> dict[str, str]:
        return {"id": id}

    @app.get("/ping")
    def ping() -> dict[str, str]:
        return {}

    async with serving(app) as live:
        wire = await live.connect()
        wire.send(request("HEAD", "/files/7") + get("/ping"))
        assert (await wire.reply(head_only=True)).headers["content-length"] == "10"
        assert (await wire.reply()).body == b"{}"


async def test_a_204_has_neither_body_nor_length():
    async with serving(Specimen().app) as live:
        wire = await live.connect()
        wire.send(request("DELETE", "/baskets/7") + get("/ping"))
        reply = await wire.reply()
        assert reply.status == 204
        assert "content-length" not in reply.headers
        assert "content-type" not in reply.headers
        assert (await wire.reply()).status == 200


async def test_a_response_goes_out_as_it_is():
    app = App()

    @app.get("/tea")
    def tea() -> Response:
        return Response(418, b"short and stout", content_type="text/plain", headers={"X-Pot": "1", "Vary": "Accept"})

    async with serving(app) as live:
        reply = await live.ask(get("/tea"))
    assert (reply.status, reply.body) == (418, b"short and stout")
    assert reply.headers["x-pot"] == "1"
    assert reply.headers["content-type"] == "text/plain"
    assert reply.headers["x-content-type-options"] == "nosniff"


async def test_distinct_paths_leave_nothing_behind():
    specimen = Specimen()
    async with serving(specimen.app) as live:
        wire = await live.connect()
        for start in range(0, 4000, 50):
            numbers = range(start, start + 50)
            wire.send(
                b"".join(
                    get(f"/nowhere/{number}", f"X-Request-Id: id-{number}")
                    + get(f"/user/{number}?q={number}")
                    + request(("LINK", "PROPFIND", "PURGE")[number % 3], f"/ping?{number}")
                    for number in numbers
                )[:]
            ) if start == 0 else wire.send(b"".join(get(f"/nowhere/{number}") for number in numbers))
            await wire.replies(150 if start == 0 else 50)
        metrics = (await live.ask(get("/metrics"))).body
        assert metrics.count(b"teahouse_http_requests_total{") < 30
        assert b"nowhere" not in metrics
        await eventually(lambda: live.server.running == 0)
        assert len(live.server.heads._prefixes) < 20


async def test_a_request_shows_what_was_sent():
    specimen = Specimen()
    async with serving(specimen.app) as live:
        await live.ask(request("POST", "/echo?a=1&a=2&b=%E8%8C%B6&c", "X-One: Two", body=b"tea"))
    (seen,) = specimen.seen
    assert isinstance(seen, Request)
    assert (seen.method, seen.path, seen.body) == ("POST", "/echo", b"tea")
    assert seen.query == {"a": ["1", "2"], "b": ["茶"], "c": [""]}
    assert seen.header("x-ONE") == "Two"
    assert seen.header("x-two") is None
    assert seen.client_address == "127.0.0.1"
    assert seen.scheme == "http"
