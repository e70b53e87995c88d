from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from teahouse.accounts import Accounts, Admin, Caller, install
from teahouse.accounts.accounts_sql import create_user
from teahouse.settings import AccountsSettings
from teahouse.web import App, TestClient
from tests.accounts.conftest import CHEAP, SECRET, accounts_on

ADA = {"username": "ada", "password": "correct horse battery"}


def bearer(tokens: dict) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['accessToken']}"}


async def log_in(client: TestClient, name: str = "ada", nonce: str = "1", **options) -> dict:
    answer = await client.post("/v1/auth/wechat", json={"code": f"sandbox-{name}-{nonce}"}, **options)
    assert answer.status == 200, answer.body
    return answer.json()


def problem(answer) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status, answer.json()["type"].removeprefix("/problems/")


async def test_a_wechat_login_gives_tokens_as_the_contract_has_them(client):
    tokens = await log_in(client)
    assert set(tokens) == {"accessToken", "refreshToken", "tokenType", "expiresIn", "user"}
    assert (tokens["tokenType"], tokens["expiresIn"]) == ("Bearer", 900)
    assert set(tokens["user"]) == {"id", "nickname", "avatarUrl", "role", "createdAt"}
    assert tokens["user"]["createdAt"] == "2026-01-01T00:00:00Z"
    assert tokens["user"]["role"] == "user"


async def test_nothing_of_wechats_identity_is_sent_out(client):
    answer = await client.post("/v1/auth/wechat", json={"code": "sandbox-ada-1"})
    for name in (b"openid", b"unionid", b"session_key", b"sessionKey", b"oSBX", b"uSBX"):
        assert name not in answer.body


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("sandbox-error-40029-1", (401, "wechat-code-invalid")),
        ("sandbox-error-40163-1", (401, "wechat-code-invalid")),
        ("sandbox-error-40226-1", (403, "wechat-user-blocked")),
        ("sandbox-error-45011-1", (429, "wechat-too-frequent")),
        ("sandbox-error--1-1", (503, "wechat-unavailable")),
        ("sandbox-error-40013-1", (503, "wechat-unavailable")),
        ("no-sandbox-code", (401, "wechat-code-invalid")),
    ],
)
async def test_wechats_errors_become_problems(client, code, expected):
    answer = await client.post("/v1/auth/wechat", json={"code": code})
    assert problem(answer) == expected
    if expected[0] in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    if expected[0] == 401:
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_replayed_code_is_refused(client):
    await log_in(client)
    assert problem(await client.post("/v1/auth/wechat", json={"code": "sandbox-ada-1"})) == (401, "wechat-code-invalid")


async def test_registering_and_logging_in_with_a_password(client):
    made = await client.post("/v1/auth/register", json=ADA)
    assert made.status == 201
    assert problem(await client.post("/v1/auth/register", json={**ADA, "username": "ADA"})) == (409, "username-taken")
    again = await client.post("/v1/auth/password", json=ADA)
    assert again.status == 200
    assert again.json()["user"] == made.json()["user"]
    wrong = await client.post("/v1/auth/password", json={**ADA, "password": "wrong"})
    unknown = await client.post("/v1/auth/password", json={**ADA, "username": "nobody"})
    assert problem(wrong) == problem(unknown) == (401, "bad-credentials")
    assert wrong.body == unknown.body


async def test_a_rule_that_is_broken_is_named(client):
    answer = await client.post("/v1/auth/register", json={"username": "a b", "password": "correct horse battery"})
    assert problem(answer) == (422, "validation-failed")
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/username"]


async def test_a_locked_name_is_told_how_long_to_wait(client):
    for _ in range(10):
        await client.post("/v1/auth/password", json={**ADA, "password": "wrong"})
    answer = await client.post("/v1/auth/password", json=ADA)
    assert problem(answer) == (429, "too-many-logins")
    assert answer.headers["retry-after"] == "90"


async def test_refreshing_over_http(client, clock):
    first = await log_in(client)
    body = {"refreshToken": first["refreshToken"]}
    second, repeated = [(await client.post("/v1/auth/refresh", json=body)).json() for _ in range(2)]
    assert second["refreshToken"] == repeated["refreshToken"] != first["refreshToken"]
    clock.advance(11)
    assert problem(await client.post("/v1/auth/refresh", json=body)) == (401, "refresh-token-reused")
    body = {"refreshToken": second["refreshToken"]}
    assert problem(await client.post("/v1/auth/refresh", json=body)) == (401, "session-ended")
    assert problem(await client.get("/v1/me", headers=bearer(second))) == (401, "session-ended")


async def test_logging_out_here_and_everywhere(client):
    one, two, three = [await log_in(client, nonce=nonce) for nonce in "123"]
    assert (await client.post("/v1/auth/logout", headers=bearer(one))).status == 204
    assert problem(await client.get("/v1/me", headers=bearer(one))) == (401, "session-ended")
    assert (await client.get("/v1/me", headers=bearer(two))).status == 200
    assert (await client.post("/v1/auth/logout?everywhere=true", headers=bearer(two))).status == 204
    for tokens in (two, three):
        assert problem(await client.get("/v1/me", headers=bearer(tokens))) == (401, "session-ended")
        body = {"refreshToken": tokens["refreshToken"]}
        assert problem(await client.post("/v1/auth/refresh", json=body)) == (401, "session-ended")


async def test_everywhere_must_be_a_truth_value(client):
    tokens = await log_in(client)
    answer = await client.post("/v1/auth/logout?everywhere=perhaps", headers=bearer(tokens))
    assert problem(answer) == (422, "validation-failed")


async def test_the_callers_devices_are_listed_and_one_can_be_ended(client, clock):
    phone = await log_in(client, nonce="1", headers={"User-Agent": "MicroMessenger/8.0 (iPhone)"})
    clock.advance(60)
    desk = await log_in(client, nonce="2", headers={"User-Agent": "x" * 1000})
    clock.advance(60)
    listed = (await client.get("/v1/auth/sessions", headers=bearer(desk))).json()
    assert listed["nextCursor"] is None
    newest, oldest = listed["items"]
    assert [newest["current"], oldest["current"]] == [True, False]
    assert [newest["device"], oldest["device"]] == ["x" * 120, "MicroMessenger/8.0 (iPhone)"]
    assert newest["lastSeenAt"] == "2026-01-01T00:02:00Z"
    assert oldest["createdAt"] == oldest["lastSeenAt"] == "2026-01-01T00:00:00Z"
    path = f"/v1/auth/sessions/{oldest['id']}"
    assert (await client.delete(path, headers=bearer(desk))).status == 204
    assert problem(await client.get("/v1/me", headers=bearer(phone))) == (401, "session-ended")
    assert problem(await client.delete(path, headers=bearer(desk))) == (404, "not-found")


async def test_somebody_elses_device_is_not_found(client):
    ada, bob = await log_in(client, "ada"), await log_in(client, "bob")
    (session,) = (await client.get("/v1/auth/sessions", headers=bearer(bob))).json()["items"]
    answer = await client.delete(f"/v1/auth/sessions/{session['id']}", headers=bearer(ada))
    assert problem(answer) == (404, "not-found")
    assert (await client.get("/v1/me", headers=bearer(bob))).status == 200


@pytest.mark.parametrize(
    "user_agent", ["\x00", "\x1b[31mred", "\u00e9\u00ff", "a\tb" * 100, "<script>alert(1)</script>", ""]
)
async def test_a_hostile_user_agent_is_a_label_or_a_bad_request(client, user_agent):
    answer = await client.post("/v1/auth/wechat", json={"code": "sandbox-ada-1"}, headers={"User-Agent": user_agent})
    if answer.status == 400:
        return
    listed = await client.get("/v1/auth/sessions", headers=bearer(answer.json()))
    (session,) = listed.json()["items"]
    assert session["device"].isprintable()
    assert len(session["device"]) <= 120


async def test_a_profile_is_read_and_changed_in_part(client):
    tokens = await log_in(client)
    changed = await client.put("/v1/me", json={"nickname": "小明"}, headers=bearer(tokens))
    assert changed.status == 200
    assert changed.json()["nickname"] == "小明"
    await client.put("/v1/me", json={"avatarUrl": "https://cdn.example.com/a.png"}, headers=bearer(tokens))
    me = (await client.get("/v1/me", headers=bearer(tokens))).json()
    assert (me["nickname"], me["avatarUrl"]) == ("小明", "https://cdn.example.com/a.png")
    assert (await client.put("/v1/me", json={}, headers=bearer(tokens))).json() == me


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"role": "admin"}, "/role"),
        ({"nickname": ""}, "/nickname"),
        ({"nickname": "a\u0000b"}, "/nickname"),
        ({"nickname": 7}, "/nickname"),
        ({"avatarUrl": "javascript:alert(1)"}, "/avatarUrl"),
        ({"avatarUrl": "https://e.com/" + "x" * 2000}, "/avatarUrl"),
    ],
)
async def test_a_profile_takes_nothing_it_should_not(client, change, pointer):
    tokens = await log_in(client)
    answer = await client.put("/v1/me", json=change, headers=bearer(tokens))
    assert problem(answer) == (422, "validation-failed")
    assert answer.json()["errors"]
    assert (await client.get("/v1/me", headers=bearer(tokens))).json() == tokens["user"]


async def test_others_see_the_public_part_and_oneself_and_admins_the_whole(client, database, clock):
    ada, bob = await log_in(client, "ada"), await log_in(client, "bob")
    await create_user(
        database,
        clock,
        username="root",
        password=ADA["password"],
        role="admin",
        settings=AccountsSettings(argon2=CHEAP),
    )
    root = (await client.post("/v1/auth/password", json={**ADA, "username": "root"})).json()
    path = f"/v1/users/{bob['user']['id']}"
    seen = (await client.get(path, headers=bearer(ada))).json()
    assert set(seen) == {"id", "nickname", "avatarUrl"}
    for reader in (bob, root):
        assert (await client.get(path, headers=bearer(reader))).json() == bob["user"]


@pytest.mark.parametrize("user_id", ["0" * 32, "x", "0" * 33, "%00", "%ff", "..%2f", "' OR 1=1 --".replace(" ", "%20")])
async def test_an_id_that_is_nobodys_is_never_a_fault(client, user_id):
    answer = await client.get(f"/v1/users/{user_id}", headers=bearer(await log_in(client)))
    assert answer.status in (400, 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/auth/logout"),
        ("GET", "/v1/auth/sessions"),
        ("DELETE", "/v1/auth/sessions/" + "0" * 32),
        ("GET", "/v1/me"),
        ("PUT", "/v1/me"),
        ("GET", "/v1/users/" + "0" * 32),
    ],
)
async def test_what_is_personal_needs_a_token(client, clock, method, path):
    body = {"json": {}} if method == "PUT" else {}
    assert problem(await client.request(method, path, **body)) == (401, "unauthorized")
    forged = {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."}
    assert problem(await client.request(method, path, headers=forged, **body)) == (401, "access-token-invalid")
    old = bearer(await log_in(client))
    clock.advance(900)
    late = await client.request(method, path, headers=old, **body)
    assert problem(late) == (401, "access-token-expired")
    assert late.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize("path", ["wechat", "register", "password", "refresh"])
@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"code":"\xff"}', "application/json", 400),
        (b"[]", "application/json", 422),
        (b"{}", "application/json", 422),
        (b"null", "application/json", 422),
        (b'{"code":1,"username":1,"password":1,"refreshToken":1}', "application/json", 422),
        (b'{"code":"x","username":"ada","password":"y","refreshToken":"z","more":1}', "application/json", 422),
        (b'{"code":"","username":"","password":"","refreshToken":""}', "application/json", 422),
        (b"{}", "text/plain", 415),
        (b"code=1", "application/x-www-form-urlencoded", 415),
    ],
)
async def test_a_body_that_is_not_as_it_should_be_is_a_clear_problem(client, path, body, content_type, expected):
    answer = await client.post(f"/v1/auth/{path}", body=body, headers={"Content-Type": content_type})
    assert problem(answer)[0] == expected


@pytest.mark.parametrize(
    "body",
    [
        {"code": "x" * 257},
        {"username": "x" * 257, "password": "y"},
        {"username": "x", "password": "y" * 1025},
        {"refreshToken": "x" * 513},
    ],
)
async def test_fields_are_bounded_before_anything_is_done_with_them(client, body):
    path = "wechat" if "code" in body else "refresh" if "refreshToken" in body else "password"
    assert problem(await client.post(f"/v1/auth/{path}", json=body)) == (422, "validation-failed")


async def test_a_token_of_a_megabyte_is_a_problem_and_not_a_burden(client):
    answer = await client.get("/v1/me", headers={"Authorization": "Bearer " + "a" * 1_000_000})
    assert answer.status in (401, 431)


async def test_no_key_is_published_for_a_shared_secret(client):
    assert (await client.get("/v1/auth/jwks.json")).json() == {"keys": []}


async def test_public_keys_are_published_for_an_asymmetric_algorithm(database, platform, clock):
    settings = AccountsSettings(argon2=CHEAP, algorithm="EdDSA")
    accounts = accounts_on(database, platform, [SECRET], settings, clock=clock)
    async with served(accounts) as client:
        (key,) = (await client.get("/v1/auth/jwks.json")).json()["keys"]
        assert (key["kty"], key["alg"], key["use"]) == ("OKP", "EdDSA", "sig")
        assert (await client.get("/v1/me", headers=bearer(await log_in(client)))).status == 200


async def test_handlers_ask_for_a_caller_or_an_admin(accounts, database, clock):
    await create_user(
        database,
        clock,
        username="root",
        password=ADA["password"],
        role="admin",
        settings=AccountsSettings(argon2=CHEAP),
    )
    async with served(accounts) as client:
        ada = await log_in(client)
        root = (await client.post("/v1/auth/password", json={**ADA, "username": "root"})).json()
        assert (await client.get("/mine", headers=bearer(ada))).json() == {"id": ada["user"]["id"]}
        assert problem(await client.get("/admin", headers=bearer(ada))) == (403, "forbidden")
        assert problem(await client.get("/admin")) == (401, "unauthorized")
        assert (await client.get("/admin", headers=bearer(root))).json() == {"id": root["user"]["id"]}


async def test_five_hundred_log_in_at_once_from_one_address(client):
    pairs = await asyncio.gather(*(log_in(client, f"buyer{number}") for number in range(500)))
    assert len({pair["user"]["id"] for pair in pairs}) == 500


async def test_the_document_describes_every_route_and_its_lock(client):
    document = (await client.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    login = document["paths"]["/v1/auth/wechat"]["post"]
    assert {"200", "401", "403", "422", "429", "503"} <= set(login["responses"])
    assert document["paths"]["/v1/me"]["get"]["security"] == [{"bearer": []}]


async def test_times_are_utc_on_the_wire(client):
    created = (await log_in(client))["user"]["createdAt"]
    assert datetime.fromisoformat(created).tzinfo == UTC


def served(accounts: Accounts) -> TestClient:
    app = App()
    install(app, accounts)

    @app.get("/mine")
    def mine(caller: Caller) -> dict[str, str]:
        return {"id": caller.user_id}

    @app.get("/admin")
    def admin(admin: Admin) -> dict[str, str]:
        return {"id": admin.user_id}

    app.on_stop(accounts.aclose)
    return TestClient(app)
