"""The WeChat open platform, as login needs it."""

from __future__ import annotations

from typing import Protocol

import msgspec


class WechatIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Who WeChat says a login code belongs to. Stays on the server: none of it is ever sent out.

    ``openid`` is the user within this mini-program, ``unionid`` the person across the owner's apps (None unless they
    are bound together), ``session_key`` the key WeChat encrypts this login's data with.
    """

    openid: str
    session_key: str
    unionid: str | None = None

    def __repr__(self) -> str:
        return "WechatIdentity(…)"


class WechatPlatform(Protocol):
    """Turns a login code from ``wx.login`` into an identity.

    A code is good once, and for five minutes. Exchanging it is **not** repeatable: once the platform may have seen the
    code, nobody asks with it again; a time-out means *unknown*, and the client fetches a new code. Backends hold no
    locks; calls may run at the same time, and of two with one code at most one succeeds.

    Source: https://developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/user-login/code2Session.html
    """

    async def exchange(self, code: str) -> WechatIdentity:
        """Raises ``WechatCodeInvalid`` (40029, 40163), ``WechatUserBlocked`` (40226), ``WechatTooFrequent`` (45011)
        or ``WechatUnavailable`` (−1, every other answer, no answer).
        """
        ...

    async def aclose(self) -> None:
        """Lets connections go; exchanges under way must have ended."""
        ...
