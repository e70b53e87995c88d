"""One server for the tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from teahouse.web.client import Client
from tests.journeys.people import Person, at, hire_boss, log_in, log_in_boss
from tests.journeys.servers import Running, running

# Tests fail at logins and register all day, from one address.
MANY = {
    "TEAHOUSE_ACCOUNTS__FAILED_LOGINS_PER_ADDRESS": "1000000",
    "TEAHOUSE_ACCOUNTS__REGISTRATIONS_PER_ADDRESS": "1000000",
    "TEAHOUSE_ACCOUNTS__SESSIONS_PER_USER": "1000",
}


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with an admin, shared."""
    directory = tmp_path_factory.mktemp("house")
    hire_boss(directory)
    with running(directory, **MANY) as server:
        yield server


@pytest.fixture
async def client(house: Running) -> AsyncIterator[Client]:
    """A client of the shared server."""
    async with at(house) as client:
        yield client


@pytest.fixture
async def boss(client: Client) -> Person:
    """The admin."""
    return await log_in_boss(client)


@pytest.fixture
async def buyer(client: Client) -> Person:
    """Somebody new."""
    return await log_in(client)


@pytest.fixture
def nobody(client: Client) -> Person:
    """Somebody who has not logged in."""
    return Person(client)
