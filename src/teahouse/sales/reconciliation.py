"""What has to agree: the ledger's counters, its memory, the orders and the payments. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec.structs import astuple

from teahouse.sales.model import PAID, RESERVED, Tally

DifferenceKind = Literal[
    "reserved-differs",
    "sold-differs",
    "sum-differs",
    "oversold",
    "memory-differs",
    "order-without-sale",
    "paid-without-payment",
    "payment-without-order",
    "payment-of-unpaid-order",
    "paid-twice",
    "wrong-amount",
    "redis-lost",
    "redis-differs",
    "log-incomplete",
    "set-aside",
    "order-lost",
]


class Difference(msgspec.Struct, frozen=True):
    """One thing that does not agree. ``id`` is that of the sale, order or payment; ``units`` is by how many items."""

    kind: DifferenceKind
    id: str
    units: int
    detail: str
    repaired: bool = False

    def mended(self) -> Difference:
        """The same, repaired."""
        return msgspec.structs.replace(self, repaired=True)


class Audit(msgspec.Struct, frozen=True):
    """One sale's counters of one moment, the units that its orders hold, and every difference."""

    sale_id: str
    tally: Tally
    ordered: int
    differences: tuple[Difference, ...]

    @property
    def difference(self) -> int:
        """How many units are not accounted for alike everywhere; 0 when all agree."""
        return sum(each.units for each in self.differences)


def compare_counters(sale_id: str, tally: Tally, units: Mapping[str, int], memory: Tally | None) -> list[Difference]:
    """A sale's counters in SQL against the units its orders hold by status, and against memory where there is one."""
    reserved, paid = units.get(RESERVED, 0), units.get(PAID, 0)
    accounted = tally.remaining + tally.reserved + tally.sold
    claims: Sequence[tuple[DifferenceKind, int, str]] = (
        (
            "reserved-differs",
            tally.reserved - reserved,
            f"{tally.reserved} counted, live orders hold {reserved}",
        ),
        ("sold-differs", tally.sold - paid, f"{tally.sold} counted, paid orders hold {paid}"),
        ("sum-differs", tally.initial - accounted, f"the counters add up to {accounted} of {tally.initial}"),
        ("oversold", max(0, reserved + paid - tally.initial), f"orders hold {reserved + paid} of {tally.initial}"),
        ("memory-differs", _apart(tally, memory), f"memory counts {memory}, SQL {tally}"),
    )
    return [Difference(kind, sale_id, abs(units), detail) for kind, units, detail in claims if units]


def _apart(tally: Tally, memory: Tally | None) -> int:
    if memory is None:
        return 0
    pairs: Iterable[tuple[int, int]] = zip(astuple(tally), astuple(memory), strict=True)
    return max(abs(ours - theirs) for ours, theirs in pairs)
