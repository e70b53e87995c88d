"""Tokens are for the client that asked, not for a cache on the way."""

from __future__ import annotations

from teahouse.web import TestClient


async def test_no_cache_keeps_an_answer_with_tokens(client: TestClient) -> None:
    name = {"username": "amy", "password": "correct horse battery"}
    registered = await client.post("/v1/auth/register", json=name)
    logged_in = await client.post("/v1/auth/password", json=name)
    by_wechat = await client.post("/v1/auth/wechat", json={"code": "sandbox-amy-1"})
    refreshed = await client.post("/v1/auth/refresh", json={"refreshToken": by_wechat.json()["refreshToken"]})

    for answer in (registered, logged_in, by_wechat, refreshed):
        assert answer.status in (200, 201)
        assert answer.headers["cache-control"] == "no-store"
