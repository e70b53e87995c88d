"""How many logins may fail, and how many accounts be made, before somebody must wait.

Only failures count: any number of people may log in behind one address. Attempts are refused before their password
costs anything.
"""

from __future__ import annotations

import asyncio

from teahouse.accounts.throttle import Limit, Throttle
from teahouse.problems import TooManyLogins, TooManyRegistrations
from teahouse.settings import AccountsSettings


class LoginLimits:
    """Failures by network (an IPv4 address or an IPv6 /64) and by username key, counted by ``throttle``.

    Every method raises what ``Throttle`` raises as well: who cannot be counted is not let in.
    """

    def __init__(self, throttle: Throttle, settings: AccountsSettings) -> None:
        seconds = settings.failed_logins_seconds
        self._throttle = throttle
        self._by_network = Limit("address", settings.failed_logins_per_address, seconds)
        self._by_name = Limit("name", settings.failed_logins_per_name, seconds)
        self._by_name_at_home = Limit("name-at-home", settings.failed_logins_per_name, seconds)
        self._wechat = Limit("wechat", settings.failed_logins_per_address, seconds)
        self._registrations = Limit("registrations", settings.registrations_per_address, settings.registrations_seconds)

    async def check_password(self, network: str, key: str) -> bool:
        """Raises ``TooManyLogins`` where too many passwords were wrong from here; False where too many were wrong for
        this name.
        """
        from_here, for_name = await asyncio.gather(
            self._throttle.wait(self._by_network, network), self._throttle.wait(self._by_name, key)
        )
        _refuse(from_here, "from this address")
        return for_name == 0

    async def check_name(self, key: str, home: str | None) -> None:
        """Raises ``TooManyLogins``. Where the owner is known at ``home``, its own failures count."""
        if home is None:
            _refuse(await self._throttle.wait(self._by_name, key), "for this name")
        else:
            wait = await self._throttle.wait(self._by_name_at_home, _pair(key, home))
            _refuse(wait, "for this name from this address")

    async def password_failed(self, network: str, key: str) -> None:
        """A password was wrong, or there is no such name: both count alike."""
        await asyncio.gather(
            self._throttle.add(self._by_network, network),
            self._throttle.add(self._by_name, key),
            self._throttle.add(self._by_name_at_home, _pair(key, network)),
        )

    async def check_wechat(self, network: str) -> None:
        """Raises ``TooManyLogins`` where too many WeChat codes were wrong from here."""
        _refuse(await self._throttle.wait(self._wechat, network), "from this address")

    async def wechat_failed(self, network: str) -> None:
        """A WeChat code was wrong, used or of a blocked user."""
        await self._throttle.add(self._wechat, network)

    async def count_registration(self, network: str) -> None:
        """Counts one account asked for, whatever becomes of it; raises ``TooManyRegistrations``."""
        if wait := await self._throttle.take(self._registrations, network):
            raise TooManyRegistrations(retry_after=wait)


def _pair(key: str, network: str) -> str:
    return f"{network} {key}"


def _refuse(wait: int, where: str) -> None:
    if wait:
        raise TooManyLogins(f"Too many logins failed {where}. Try again in {wait} seconds.", retry_after=wait)
