"""Accounts: login, tokens, sessions, roles.

Handlers ask for a ``Caller`` or an ``Admin``; ``Accounts`` is the service behind the routes that ``install`` adds;
``create_user`` makes an account from any process.
"""

from teahouse.accounts.login import create_user
from teahouse.accounts.model import Admin, Caller, Role, User
from teahouse.accounts.routes import install
from teahouse.accounts.service import Accounts

__all__ = ["Accounts", "Admin", "Caller", "Role", "User", "create_user", "install"]
