"""What one worker remembers of the sales that another engine decides about. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from msgspec.structs import replace

from teahouse.sales.archive import Archived
from teahouse.sales.model import OnSale, Sale

# A sale that sold out is asked about again after so long, whatever was heard.
SOLD_OUT_SECONDS = 1.0
MOST_SHELVES = 10_000


class Shelf:
    """One sale: its terms, which never change but for the stock, and the latest that was heard of its counters.

    ``seq`` is the highest change that this worker was told of; ``returns`` counts how often stock was heard to return.
    Who has bought of a sold-out sale is known only after ``note_buyers``.
    """

    __slots__ = (
        *("_buyers", "_buyers_at", "_sold_out_at"),
        *("closed", "initial", "placed", "remaining", "returns", "sale", "seq"),
    )

    def __init__(self, archived: Archived) -> None:
        self.sale: Sale = archived.sale
        self.seq = max(0, archived.seq)
        self.initial = archived.tally.initial
        self.remaining = archived.tally.remaining
        self.closed = False
        self.placed = 0
        self._sold_out_at = float("-inf")
        self.returns = 0
        self._buyers: frozenset[str] = frozenset()
        self._buyers_at = -1

    def heard(self, seq: int, remaining: int, placed: int) -> None:
        """What a reply told of the counters; an older one than the last is passed over."""
        if seq >= self.seq:
            self.seq, self.remaining, self.placed = seq, remaining, placed
            if remaining:
                self._sold_out_at = float("-inf")

    def sold_out(self, now: float, returns: int) -> None:
        """Somebody was refused just now, at the monotonic moment ``now``, as nothing is left.

        ``returns`` as it was when the question left: stock that was heard to return since then may have returned after
        the answer was made.
        """
        if self.remaining == 0 and self.returns == returns:
            self._sold_out_at = now

    def stock_returned(self) -> None:
        """Somebody's units came back: whatever was known of being sold out is over."""
        self._sold_out_at = float("-inf")
        self.returns += 1

    @property
    def wants_buyers(self) -> bool:
        """Sold out, and who has bought is not known yet."""
        return self.remaining == 0 and self._buyers_at != self.placed

    def note_buyers(self, buyers: frozenset[str], placed: int) -> None:
        """Everybody who had bought when ``placed`` orders had been made."""
        self._buyers, self._buyers_at = buyers, placed

    def surely_sold_out(self, buyer_id: str, now: float) -> bool:
        """True where asking can have one answer only: nothing is left, and this buyer has no purchase to repeat."""
        return (
            now - self._sold_out_at < SOLD_OUT_SECONDS
            and self._buyers_at == self.placed
            and buyer_id not in self._buyers
        )

    def on_sale(self) -> OnSale:
        """The sale with its stock as last heard."""
        sale = self.sale if self.sale.stock == self.initial else replace(self.sale, stock=self.initial)
        return OnSale(sale, max(0, self.remaining))


class Shelves:
    """The sales that this worker was asked about, the latest last; bounded."""

    def __init__(self, most: int = MOST_SHELVES) -> None:
        self._most = most
        self._shelves: OrderedDict[str, Shelf] = OrderedDict()

    def __iter__(self) -> Iterator[Shelf]:
        return iter(list(self._shelves.values()))

    def get(self, sale_id: str) -> Shelf | None:
        """The sale's shelf, where there is one."""
        return self._shelves.get(sale_id)

    def add(self, archived: Archived) -> Shelf:
        """A shelf for the sale, or the one that there is."""
        shelf = self._shelves.get(archived.sale.id)
        if shelf is None:
            shelf = self._shelves[archived.sale.id] = Shelf(archived)
            while len(self._shelves) > self._most:
                self._shelves.popitem(last=False)
        return shelf

    def drop(self, sale_id: str) -> None:
        """Forgets the sale; it is read anew when somebody asks."""
        self._shelves.pop(sale_id, None)
