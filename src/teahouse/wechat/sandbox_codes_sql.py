"""The sandbox's login codes in SQL, so that a restart lets none of them work twice. Times are Unix milliseconds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import BigInteger, Column, String, Table, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from teahouse.engines.sql import Database, metadata
from teahouse.wechat.sandbox_codes import LIFE_MS, Claim

_SWEEP_ROWS = 500

sandbox_codes = Table(
    "sandbox_codes",
    metadata,
    Column("code_hash", String(64), primary_key=True),
    Column("issued_at", BigInteger, nullable=False, index=True),
    Column("used_at", BigInteger),
)


class SandboxCodesSql:
    """``SandboxCodes``; every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def issue(self, code: str, now: int) -> None:
        """See ``SandboxCodes``."""
        async with self._database.transaction() as connection:
            await connection.execute(insert(sandbox_codes), {"code_hash": _hash(code), "issued_at": now})

    async def claim(self, codes: Sequence[str], now: int) -> list[Claim]:
        """See ``SandboxCodes``."""
        try:
            return await self._claim([_hash(code) for code in codes], now)
        except IntegrityError:
            # Another node saw one of these codes for the first time just now: the second look finds it used.
            return await self._claim([_hash(code) for code in codes], now)

    async def sweep(self, *, before: int) -> int:
        """See ``SandboxCodes``."""
        query = select(sandbox_codes.c.code_hash).where(sandbox_codes.c.issued_at < before).limit(_SWEEP_ROWS)
        async with self._database.transaction() as connection:
            old = (await connection.execute(query)).scalars().all()
            if old:
                await connection.execute(delete(sandbox_codes).where(sandbox_codes.c.code_hash.in_(old)))
        return len(old)

    async def _claim(self, hashes: Sequence[str], now: int) -> list[Claim]:
        query = select(sandbox_codes).where(sandbox_codes.c.code_hash.in_(hashes))
        async with self._database.transaction() as connection:
            rows = (await connection.execute(query.order_by(sandbox_codes.c.code_hash).with_for_update())).all()
            known = {row.code_hash: _claimed(row.issued_at, row.used_at, now) for row in rows}
            issued = {code_hash for code_hash, claim in known.items() if claim is Claim.GOOD}
            claims, good = [], []
            for code_hash in hashes:
                claim = known.get(code_hash, Claim.GOOD)
                claims.append(claim)
                if claim is Claim.GOOD:
                    known[code_hash] = Claim.USED
                    good.append(code_hash)
            if own := [code_hash for code_hash in good if code_hash not in issued]:
                rows_of_own = [{"code_hash": code_hash, "issued_at": now, "used_at": now} for code_hash in own]
                await connection.execute(insert(sandbox_codes), rows_of_own)
            if issued:
                used = update(sandbox_codes).where(sandbox_codes.c.code_hash == bindparam("code")).values(used_at=now)
                await connection.execute(used, [{"code": code_hash} for code_hash in issued])
        return claims


def _claimed(issued_at: int, used_at: int | None, now: int) -> Claim:
    if used_at is not None:
        return Claim.USED
    return Claim.GOOD if now < issued_at + LIFE_MS else Claim.EXPIRED


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
