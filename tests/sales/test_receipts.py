"""What buyers were told stays on this node's disk until the archive has it, and says by id what is lost."""

from __future__ import annotations

import json
import os

import pytest

from teahouse.engines.sql import Database
from teahouse.sales.archive import SEQ_LEAP, Entry
from teahouse.sales.archive_sql import SqlArchive
from teahouse.sales.catalogue_sql import SqlCatalogue
from teahouse.sales.model import Product, Sale, Tally
from teahouse.sales.receipts import SEGMENT_SECONDS, Receipts, keep_told, missing_of, read_lost, receipts_in
from tests.clocks import ManualClock

SALE = "5" * 32


def row(number: int) -> str:
    return json.dumps(
        [f"{number:032x}", SALE, "a" * 32, f"k{number}", 1, 300, "reserved", 1, 2, 1, 1], separators=(",", ":")
    )


def entry(seq: int, *numbers: int) -> Entry:
    rows = ",".join(row(number) for number in numbers)
    return Entry("1-0", SALE, seq, 1, Tally(9, 9 - seq, seq, 0), len(numbers), rows, "")


@pytest.fixture
async def archive(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/tea.db")
    await database.connect()
    await database.create_all()
    await SqlCatalogue(database).add(Product("1" * 32, "Tea", "", (), 1, 1, 1))
    archive = SqlArchive(database)
    await archive.add(Sale(SALE, "1" * 32, 9, 300, 0, 10, 9, 60, 0))
    await archive.opened(SALE)
    yield archive
    await database.aclose()


@pytest.fixture
async def receipts(archive, tmp_path):
    receipts = Receipts(tmp_path, archive, worker="w1", clock=ManualClock())
    receipts.start()
    yield receipts
    await receipts.aclose()


async def written(receipts: Receipts) -> None:
    while receipts.writing is not None:
        await receipts.writing


async def test_receipts_are_private_and_name_every_order(receipts, tmp_path):
    receipts.note(SALE, 1, [row(1), row(2)])
    receipts.note(SALE, 2, [row(3)])
    await written(receipts)
    [path] = receipts_in(tmp_path)
    assert path.read_text().split() == [row(1), row(2), row(3)]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_receipts_go_when_the_archive_has_come_as_far(receipts, archive, tmp_path):
    receipts.note(SALE, 1, [row(1)])
    await written(receipts)
    receipts._clock.advance(SEGMENT_SECONDS + 1)
    await receipts.tidy()
    assert receipts_in(tmp_path) != []
    await archive.record([entry(1, 1)])
    await receipts.tidy()
    assert receipts_in(tmp_path) == []
    assert receipts.lost == 0


async def test_a_segment_is_kept_until_every_sale_in_it_is_recorded(receipts, archive, tmp_path):
    receipts.note(SALE, 1, [row(1)])
    receipts.note("6" * 32, 1, [row(2)])
    await archive.record([entry(1, 1)])
    receipts._clock.advance(SEGMENT_SECONDS + 1)
    await written(receipts)
    await receipts.tidy()
    assert len(receipts_in(tmp_path)) == 1


async def test_what_a_restored_sale_does_not_have_is_kept_and_told_as_lost(receipts, archive, tmp_path, caplog):
    receipts.note(SALE, 1, [row(1), row(2)])
    await written(receipts)
    await archive.record([entry(1 + SEQ_LEAP, 1)])
    receipts._clock.advance(SEGMENT_SECONDS + 1)
    await receipts.tidy()
    assert [each.id for each in read_lost(tmp_path)] == [f"{2:032x}"]
    assert f"order {2:032x} of buyer {'a' * 32} was promised and is lost" in caplog.text
    assert receipts.lost == 1
    keep_told(tmp_path, read_lost(tmp_path))
    assert read_lost(tmp_path) == []
    assert receipts_in(tmp_path) == []


async def test_what_a_sale_sells_after_its_repair_says_nothing_of_what_it_had_sold_before(receipts, archive, tmp_path):
    receipts.note(SALE, 1, [row(1)])
    receipts.note(SALE, 3, [row(2)])
    # Redis came back with the first change alone, and was restored; then it sold on.
    await archive.record([entry(1, 1)])
    receipts.note(SALE, 2 + SEQ_LEAP, [row(4)])
    await archive.record([entry(2 + SEQ_LEAP, 4)])
    await written(receipts)
    receipts._clock.advance(SEGMENT_SECONDS + 1)
    await receipts.tidy()
    assert [each.id for each in read_lost(tmp_path)] == [f"{2:032x}"]


async def test_what_a_worker_that_was_killed_left_is_looked_at_by_another(receipts, archive, tmp_path):
    abandoned = receipts.folder / "w0-000001.jsonl"
    abandoned.write_text(f"{row(1)}\n{row(2)}\n" + row(3)[:20])
    os.utime(abandoned, (1, 1))
    await archive.record([entry(1, 1)])
    receipts.note(SALE, 2, [row(4)])
    await written(receipts)
    await receipts.tidy()
    assert [each.id for each in read_lost(tmp_path)] == [f"{2:032x}"]
    assert not abandoned.exists()


async def test_only_what_is_missing_is_missing(archive, tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_text("".join(f"{row(number)}\n" for number in range(1200)))
    await archive.record([entry(1, *range(0, 1200, 2))])
    assert [each.id for each in await missing_of(archive, [path])] == [f"{number:032x}" for number in range(1, 1200, 2)]


async def test_a_disk_that_takes_nothing_stops_no_sale(receipts, caplog):
    receipts.folder.rename(receipts.folder.with_name("elsewhere"))
    receipts.note(SALE, 1, [row(1)])
    await written(receipts)
    assert "receipts cannot be written" in caplog.text
