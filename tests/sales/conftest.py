"""Every test gets a shop of its own."""

from __future__ import annotations

import pytest

from tests.sales.shop import opened_shop


@pytest.fixture
async def shop(tmp_path):
    async with opened_shop(tmp_path) as shop:
        yield shop
