"""The WeChat open platform: login codes now; the real platform and a sandbox that stands in for it.

``client_httpx.HttpxWechat`` talks to the platform, ``sandbox.SandboxWechat`` needs nobody; ``app.py`` chooses.
"""

from teahouse.wechat.platform import WechatIdentity, WechatPlatform

__all__ = ["WechatIdentity", "WechatPlatform"]
