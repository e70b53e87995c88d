"""A connection to the database that dies while it is made."""

from __future__ import annotations

import pytest
from sqlalchemy.dialects.mysql.asyncmy import AsyncAdapt_asyncmy_dbapi

from teahouse.engines.sql import Database
from teahouse.problems import DatabaseUnavailable


async def test_a_connection_that_dies_before_its_driver_has_looked_at_it_is_a_503_and_no_mistake(monkeypatch):
    def dies(*_args, **_options):
        # What asyncmy says then, https://github.com/long2ice/asyncmy/blob/dev/asyncmy/connection.pyx.
        raise RuntimeError("Transport does not expose socket instance")

    monkeypatch.setattr(AsyncAdapt_asyncmy_dbapi, "connect", dies)
    database = Database("mysql://teahouse:leaf@127.0.0.1:1/tea")
    with pytest.raises(DatabaseUnavailable):
        await database.ping()
    await database.aclose()
