"""The real WeChat platform over HTTPS.

The platform takes the app's secret in the query, so no URL of it may be seen anywhere: requests go to httpx's
transport directly, because httpx's client logs every URL, and no httpx exception leaves this file, because each
carries its request.
"""

from __future__ import annotations

import asyncio
import logging

import httpx
import msgspec

from teahouse.problems import Overloaded, WechatUnavailable
from teahouse.settings import Secret
from teahouse.wechat.errors import problem_of
from teahouse.wechat.platform import WechatIdentity

_log = logging.getLogger(__name__)

PLATFORM = "https://api.weixin.qq.com"
_PATH = "/sns/jscode2session"
_MOST_CONNECTIONS = 64
_MOST_WAITING = 512
_MOST_BYTES = 64 * 1024
_CONNECT_SHARE = 0.4
_ATTEMPTS = 2

# Nothing of the request has left when one of these is raised: asking again cannot use the code up.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class _Answer(msgspec.Struct):
    errcode: int = 0
    openid: str = ""
    session_key: str = ""
    unionid: str | None = None


class HttpxWechat:
    """A ``WechatPlatform`` that asks the platform at ``base_url``.

    An exchange takes at most ``timeout_seconds``, one further attempt included; that one is made only where the
    connection could not be opened, since a code must not be sent twice.
    """

    def __init__(self, appid: str, secret: Secret, *, base_url: str = PLATFORM, timeout_seconds: float = 5.0) -> None:
        self._appid = appid
        self._secret = secret
        self._url = httpx.URL(base_url.rstrip("/") + _PATH)
        self._timeout_seconds = timeout_seconds
        limits = httpx.Limits(max_connections=_MOST_CONNECTIONS, max_keepalive_connections=8, keepalive_expiry=10)
        self._transport = httpx.AsyncHTTPTransport(limits=limits)
        self._under_way = 0

    async def exchange(self, code: str) -> WechatIdentity:
        """See ``WechatPlatform``; raises ``Overloaded`` too, when too many logins wait for the platform."""
        if self._under_way >= _MOST_WAITING:
            raise Overloaded(f"{_MOST_WAITING} logins are waiting for WeChat already")
        self._under_way += 1
        try:
            async with asyncio.timeout(self._timeout_seconds):
                body = await self._ask(code)
        except TimeoutError:
            raise _unavailable("no answer in time") from None
        finally:
            self._under_way -= 1
        return _identity(body)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._transport.aclose()

    async def _ask(self, code: str) -> bytes:
        reason = ""
        for _ in range(_ATTEMPTS):
            try:
                return await self._ask_once(code)
            except httpx.HTTPError as error:
                reason = type(error).__name__
                if not isinstance(error, _NOT_SENT):
                    break
        # Raised out here, so that it does not carry the request along as its context.
        raise _unavailable(reason)

    async def _ask_once(self, code: str) -> bytes:
        response = await self._transport.handle_async_request(self._request(code))
        try:
            if response.status_code != 200:
                raise _unavailable(f"HTTP status {response.status_code}")
            return await _bounded(response)
        finally:
            await response.aclose()

    def _request(self, code: str) -> httpx.Request:
        params = {
            "appid": self._appid,
            "secret": self._secret.reveal(),
            "js_code": code,
            "grant_type": "authorization_code",
        }
        wait = self._timeout_seconds
        timeout = httpx.Timeout(wait, connect=wait * _CONNECT_SHARE, pool=wait * _CONNECT_SHARE)
        return httpx.Request(
            "GET",
            self._url.copy_merge_params(params),
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            extensions={"timeout": timeout.as_dict()},
        )


async def _bounded(response: httpx.Response) -> bytes:
    body = b""
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise _unavailable("an answer too long to be WeChat's")
    return body


def _identity(body: bytes) -> WechatIdentity:
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _unavailable("an answer that is not WeChat's") from None
    if answer.errcode:
        raise problem_of(answer.errcode)
    if not (0 < len(answer.openid) <= 128 and 0 < len(answer.session_key) <= 128):
        raise _unavailable("an answer without openid and session_key")
    if answer.unionid is not None and len(answer.unionid) > 128:
        raise _unavailable("an answer with an impossible unionid")
    return WechatIdentity(openid=answer.openid, session_key=answer.session_key, unionid=answer.unionid or None)


def _unavailable(reason: str) -> WechatUnavailable:
    _log.warning("WeChat could not be asked: %s", reason)
    return WechatUnavailable()
