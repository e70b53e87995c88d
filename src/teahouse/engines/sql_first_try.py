"""A connection whose first statement may fail: as long as nothing was said, another connection does as well."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from teahouse.engines.sql_server import disarm

T = TypeVar("T")


class FirstTry(AsyncConnection):
    """``connection``, until its first statement fails in a way that is ``excused``; from then on ``another``.

    So a connection that died while nobody used it does not come to light. The first statement is given up after
    ``seconds``, where that is not None.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        excused: Callable[[Exception], bool],
        another: Callable[[], Awaitable[AsyncConnection]],
        *,
        seconds: float | None = None,
    ) -> None:
        super().__init__(connection.engine, connection.sync_connection)
        self._excused = excused
        self._another = another
        self._seconds = seconds
        self._tried = False

    async def execute(self, *arguments: Any, **keywords: Any) -> Any:
        """See ``AsyncConnection``."""
        return await self._try(super().execute, *arguments, **keywords)

    async def run_sync(self, *arguments: Any, **keywords: Any) -> Any:
        """See ``AsyncConnection``; where it goes to another connection, the whole of it runs again."""
        return await self._try(super().run_sync, *arguments, **keywords)

    async def _try(self, call: Callable[..., Awaitable[T]], *arguments: Any, **keywords: Any) -> T:
        if self._tried:
            return await call(*arguments, **keywords)
        self._tried = True
        try:
            async with asyncio.timeout(self._seconds):
                return await call(*arguments, **keywords)
        except (DBAPIError, TimeoutError) as error:
            if not self._excused(error):
                raise
        disarm(self)
        await self.rollback()
        connection = await self._another()
        super().__init__(connection.engine, connection.sync_connection)
        return await call(*arguments, **keywords)
