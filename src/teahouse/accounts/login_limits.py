"""How many logins may fail, and how many accounts be made, before somebody must wait.

Only failures count: any number of people may log in behind one address. Attempts are refused before their password
costs anything.
"""

from __future__ import annotations

from teahouse.accounts.throttle import Buckets
from teahouse.clock import Clock
from teahouse.problems import TooManyLogins, TooManyRegistrations
from teahouse.settings import AccountsSettings


class LoginLimits:
    """Failures by network (an IPv4 address or an IPv6 /64) and by username key; kept in memory, bounded."""

    def __init__(self, settings: AccountsSettings, *, clock: Clock) -> None:
        seconds = settings.failed_logins_seconds
        self._by_network = Buckets(settings.failed_logins_per_address, seconds, clock=clock)
        self._by_name = Buckets(settings.failed_logins_per_name, seconds, clock=clock)
        self._by_name_at_home = Buckets(settings.failed_logins_per_name, seconds, clock=clock)
        self._wechat = Buckets(settings.failed_logins_per_address, seconds, clock=clock)
        self._registrations = Buckets(settings.registrations_per_address, settings.registrations_seconds, clock=clock)

    def check_address(self, network: str) -> None:
        """Raises ``TooManyLogins`` where too many passwords were wrong from here."""
        _refuse(self._by_network.wait(network), "from this address")

    def name_is_free(self, key: str) -> bool:
        """True while few enough passwords were wrong for this name."""
        return self._by_name.wait(key) == 0

    def check_name(self, key: str, home: str | None) -> None:
        """Raises ``TooManyLogins``. Where the owner is known at ``home``, its own failures count."""
        if home is None:
            _refuse(self._by_name.wait(key), "for this name")
        else:
            _refuse(self._by_name_at_home.wait(_pair(key, home)), "for this name from this address")

    def password_failed(self, network: str, key: str) -> None:
        """A password was wrong, or there is no such name: both count alike."""
        self._by_network.add(network)
        self._by_name.add(key)
        self._by_name_at_home.add(_pair(key, network))

    def check_wechat(self, network: str) -> None:
        """Raises ``TooManyLogins`` where too many WeChat codes were wrong from here."""
        _refuse(self._wechat.wait(network), "from this address")

    def wechat_failed(self, network: str) -> None:
        """A WeChat code was wrong, used or of a blocked user."""
        self._wechat.add(network)

    def count_registration(self, network: str) -> None:
        """Counts one account asked for, whatever becomes of it; raises ``TooManyRegistrations``."""
        if wait := self._registrations.wait(network):
            raise TooManyRegistrations(retry_after=wait)
        self._registrations.add(network)


def _pair(key: str, network: str) -> str:
    return f"{network} {key}"


def _refuse(wait: int, where: str) -> None:
    if wait:
        raise TooManyLogins(f"Too many logins failed {where}. Try again in {wait} seconds.", retry_after=wait)
