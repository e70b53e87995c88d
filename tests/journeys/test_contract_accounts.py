"""The contract's rows about logging in, sessions and users, over real sockets."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import jwt
import pytest

from teahouse.web.client import Client
from tests.journeys.people import BOSS, PASSWORD, Person, at, fresh, log_in, refused
from tests.journeys.servers import running

TOKENS = {"accessToken", "refreshToken", "tokenType", "expiresIn", "user"}
USER = {"id", "nickname", "avatarUrl", "role", "createdAt"}
ID = re.compile(r"[0-9a-f]{32}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


async def test_a_wechat_code_is_exchanged_for_tokens(client: Client):
    answer = await client.post("/v1/auth/wechat", json={"code": f"sandbox-{fresh()}-1"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    tokens = answer.json()
    assert set(tokens) == TOKENS
    assert (tokens["tokenType"], tokens["expiresIn"]) == ("Bearer", 900)
    assert set(tokens["user"]) == USER
    assert ID.fullmatch(tokens["user"]["id"])
    assert tokens["user"]["role"] == "user"
    assert MOMENT.fullmatch(tokens["user"]["createdAt"])


async def test_an_access_token_is_the_jwt_that_was_promised(buyer: Person):
    header = jwt.get_unverified_header(buyer.token)
    claims = jwt.decode(buyer.token, options={"verify_signature": False})
    assert (header["typ"], header["alg"]) == ("at+jwt", "HS256")
    assert set(claims) == {"iss", "aud", "sub", "sid", "role", "iat", "exp", "jti"}
    assert (claims["sub"], claims["role"]) == (buyer.id, "user")
    assert claims["exp"] - claims["iat"] == 900


async def test_the_name_in_a_sandbox_code_decides_who_it_is(client: Client):
    name = fresh()
    first, second, other = await log_in(client, name), await log_in(client, name), await log_in(client)
    assert first.id == second.id != other.id


async def test_a_sandbox_code_works_once(client: Client):
    code = {"code": f"sandbox-{fresh()}-1"}
    assert (await client.post("/v1/auth/wechat", json=code)).status == 200
    refused(await client.post("/v1/auth/wechat", json=code), 401, "wechat-code-invalid")


async def test_of_a_code_sent_many_times_at_once_one_works(client: Client):
    code = {"code": f"sandbox-{fresh()}-1"}
    answers = await asyncio.gather(*(client.post("/v1/auth/wechat", json=code) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200] + 19 * [401]


@pytest.mark.parametrize(
    ("code", "status", "slug"),
    [
        ("sandbox-error-40029-1", 401, "wechat-code-invalid"),
        ("sandbox-error-40163-1", 401, "wechat-code-invalid"),
        ("sandbox-error-40226-1", 403, "wechat-user-blocked"),
        ("sandbox-error-45011-1", 429, "wechat-too-frequent"),
        ("sandbox-error--1-1", 503, "wechat-unavailable"),
        ("sandbox-error-40013-1", 503, "wechat-unavailable"),
        ("0a3Xxx000-not-of-the-sandbox", 401, "wechat-code-invalid"),
    ],
)
async def test_every_error_of_wechat_can_be_provoked(client: Client, code: str, status: int, slug: str):
    refused(await client.post("/v1/auth/wechat", json={"code": code}), status, slug)


async def test_a_provoked_error_is_provoked_again(client: Client):
    for _ in range(2):
        refused(
            await client.post("/v1/auth/wechat", json={"code": "sandbox-error-45011-7"}), 429, "wechat-too-frequent"
        )


async def test_the_sandbox_issues_codes_as_wx_login_would(client: Client):
    issued = await client.post("/v1/sandbox/codes", json={"name": fresh()})
    assert issued.status == 201
    assert set(issued.json()) == {"code", "expiresAt"}
    assert (await client.post("/v1/auth/wechat", json={"code": issued.json()["code"]})).status == 200


async def test_somebody_registers_and_comes_back_in_any_case(client: Client):
    name = fresh("Anna")
    registered = await client.post("/v1/auth/register", json={"username": name, "password": PASSWORD})
    assert registered.status == 201
    assert set(registered.json()) == TOKENS
    assert registered.json()["user"]["nickname"] == name
    back = await client.post("/v1/auth/password", json={"username": name.upper(), "password": PASSWORD})
    assert back.status == 200
    assert back.json()["user"] == registered.json()["user"]


async def test_a_username_is_given_once_whatever_its_case(client: Client):
    name = fresh()
    bodies = [{"username": each, "password": PASSWORD} for each in (name, name.upper(), name)]
    answers = await asyncio.gather(*(client.post("/v1/auth/register", json=body) for body in bodies))
    assert sorted(answer.status for answer in answers) == [201, 409, 409]
    refused(next(answer for answer in answers if answer.status == 409), 409, "username-taken")


async def test_a_wrong_password_and_an_unknown_name_are_answered_alike(client: Client):
    wrong = await client.post("/v1/auth/password", json={"username": BOSS, "password": "not that"})
    unknown = await client.post("/v1/auth/password", json={"username": fresh(), "password": "not that"})
    refused(wrong, 401, "bad-credentials")
    assert wrong.body == unknown.body


async def test_a_refresh_gives_a_new_pair_and_within_the_grace_the_same_one(client: Client, buyer: Person):
    old = {"refreshToken": buyer.tokens["refreshToken"]}
    first = await client.post("/v1/auth/refresh", json=old)
    assert first.status == 200
    assert set(first.json()) == TOKENS
    assert first.json()["refreshToken"] != buyer.tokens["refreshToken"]
    again = await client.post("/v1/auth/refresh", json=old)
    assert again.status == 200
    assert again.json()["refreshToken"] == first.json()["refreshToken"]


@pytest.mark.parametrize("token", ["x", "not.a.token", "A" * 512, "\u8336"])
async def test_a_refresh_token_of_somebody_elses_making_is_refused(client: Client, token: str):
    refused(await client.post("/v1/auth/refresh", json={"refreshToken": token}), 401, "refresh-token-invalid")


async def test_an_access_token_is_no_refresh_token_and_the_other_way_round(client: Client, buyer: Person):
    body = {"refreshToken": buyer.token}
    refused(await client.post("/v1/auth/refresh", json=body), 401, "refresh-token-invalid")
    refused(await client.get("/v1/me", token=buyer.tokens["refreshToken"]), 401, "access-token-invalid")


async def test_a_refresh_token_used_again_after_the_grace_ends_the_whole_session(tmp_path: Path):
    with running(tmp_path, TEAHOUSE_ACCOUNTS__REFRESH_GRACE_SECONDS="0.001") as server:
        async with at(server) as client:
            buyer = await log_in(client)
            old = {"refreshToken": buyer.tokens["refreshToken"]}
            successor = (await client.post("/v1/auth/refresh", json=old)).json()
            answer = await client.post("/v1/auth/refresh", json=old)
            while answer.status == 200:
                answer = await client.post("/v1/auth/refresh", json=old)
            refused(answer, 401, "refresh-token-reused")
            refused(await client.get("/v1/me", token=successor["accessToken"]), 401, "session-ended")
            body = {"refreshToken": successor["refreshToken"]}
            refused(await client.post("/v1/auth/refresh", json=body), 401, "session-ended")


async def test_logging_out_ends_this_session_and_no_other(client: Client):
    name = fresh()
    here, there = await log_in(client, name), await log_in(client, name)
    gone = await here.post("/v1/auth/logout")
    assert (gone.status, gone.body) == (204, b"")
    refused(await here.get("/v1/me"), 401, "session-ended")
    body = {"refreshToken": here.tokens["refreshToken"]}
    refused(await client.post("/v1/auth/refresh", json=body), 401, "session-ended")
    assert (await there.get("/v1/me")).status == 200


async def test_logging_out_everywhere_ends_every_session_of_that_user(client: Client, buyer: Person):
    name = fresh()
    devices = [await log_in(client, name) for _ in range(3)]
    assert (await devices[0].post("/v1/auth/logout?everywhere=true")).status == 204
    for device in devices:
        refused(await device.get("/v1/me"), 401, "session-ended")
    assert (await buyer.get("/v1/me")).status == 200
    assert (await (await log_in(client, name)).get("/v1/me")).status == 200


async def test_somebody_sees_their_devices_and_logs_one_out(client: Client):
    name = fresh()
    phone, tablet = await log_in(client, name), await log_in(client, name)
    listed = (await phone.get("/v1/auth/sessions")).json()
    assert set(listed) == {"items", "nextCursor"}
    assert all(set(item) == {"id", "device", "createdAt", "lastSeenAt", "current"} for item in listed["items"])
    [other] = [item["id"] for item in listed["items"] if not item["current"]]
    assert (await phone.delete(f"/v1/auth/sessions/{other}")).status == 204
    refused(await tablet.get("/v1/me"), 401, "session-ended")
    assert len((await phone.get("/v1/auth/sessions")).json()["items"]) == 1
    refused(await phone.delete(f"/v1/auth/sessions/{other}"), 404, "not-found")


async def test_nobody_logs_somebody_elses_device_out(client: Client, buyer: Person):
    stranger = await log_in(client)
    [session] = (await buyer.get("/v1/auth/sessions")).json()["items"]
    refused(await stranger.delete(f"/v1/auth/sessions/{session['id']}"), 404, "not-found")
    assert (await buyer.get("/v1/me")).status == 200


async def test_the_key_set_is_empty_while_the_algorithm_is_symmetric(client: Client):
    answer = await client.get("/v1/auth/jwks.json")
    assert (answer.status, answer.json()) == (200, {"keys": []})


async def test_the_key_set_verifies_tokens_of_an_asymmetric_algorithm(tmp_path: Path):
    with running(tmp_path, TEAHOUSE_ACCOUNTS__ALGORITHM="EdDSA") as server:
        async with at(server) as client:
            buyer = await log_in(client)
            [key] = (await client.get("/v1/auth/jwks.json")).json()["keys"]
            assert not {"d", "k"} & set(key)
            claims = jwt.decode(buyer.token, jwt.PyJWK(key), audience="teahouse", issuer="teahouse")
            assert claims["sub"] == buyer.id
            # The public key is public: it must not work as the secret of a symmetric algorithm.
            header = {"typ": "at+jwt", "kid": key["kid"]}
            for secret in (key["x"], jwt.utils.base64url_decode(key["x"])):
                forged = jwt.api_jws.encode(jwt.api_jwt.json.dumps(claims).encode(), secret, "HS256", header)
                refused(await client.get("/v1/me", token=forged), 401, "access-token-invalid")


async def test_somebody_changes_their_nickname_and_picture_and_nothing_else(buyer: Person):
    before = (await buyer.get("/v1/me")).json()
    assert before == buyer.tokens["user"]
    changed = await buyer.put("/v1/me", json={"nickname": "茶馆 老板", "avatarUrl": "https://example.com/a.png"})
    assert changed.status == 200
    assert changed.json() == {**before, "nickname": "茶馆 老板", "avatarUrl": "https://example.com/a.png"}
    assert (await buyer.put("/v1/me", json={"avatarUrl": ""})).json() == {**changed.json(), "avatarUrl": ""}
    assert (await buyer.get("/v1/me")).json()["nickname"] == "茶馆 老板"
    for forbidden in ({"role": "admin"}, {"id": "0" * 32}, {"createdAt": before["createdAt"]}):
        refused(await buyer.put("/v1/me", json=forbidden), 422, "validation-failed")


async def test_others_see_the_public_part_of_an_account_only(client: Client, buyer: Person, boss: Person):
    stranger = await log_in(client)
    public = (await stranger.get(f"/v1/users/{buyer.id}")).json()
    assert public == {key: buyer.tokens["user"][key] for key in ("id", "nickname", "avatarUrl")}
    assert (await buyer.get(f"/v1/users/{buyer.id}")).json() == buyer.tokens["user"]
    assert (await boss.get(f"/v1/users/{buyer.id}")).json() == buyer.tokens["user"]
    refused(await stranger.get(f"/v1/users/{'0' * 32}"), 404, "not-found")
