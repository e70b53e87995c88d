"""Resumable uploads as a client of tus sees them."""

from __future__ import annotations

import asyncio
import os
from itertools import pairwise

import pytest

from teahouse.files import UploadLimits
from tests.files.desk import ANN, BOB, BYTES, checksum, metadata, opened, raw
from tests.web.wire import eventually

DATA = os.urandom(300_001)


@pytest.fixture
async def desk(tmp_path):
    async with opened(tmp_path) as desk:
        yield desk


async def content(desk, path, **fields):
    return await desk.ask("GET", f"{path}/content", **fields)


async def test_options_tell_what_the_server_can_do_without_a_login(desk):
    reply = await desk.ask("OPTIONS", "/v1/files", by="")
    assert reply.status == 204
    assert (reply.headers["tus-version"], reply.headers["tus-max-size"]) == ("1.0.0", "10000000")
    assert set(reply.headers["tus-extension"].split(",")) == {
        "creation", "creation-with-upload", "creation-defer-length", "checksum", "expiration", "termination",
        "concatenation",
    }  # fmt: skip
    assert set(reply.headers["tus-checksum-algorithm"].split(",")) == {"md5", "sha1", "sha256"}


async def test_an_upload_in_pieces_becomes_a_file_that_is_read_back(desk):
    path = await desk.begun(len(DATA), upload_metadata=metadata(filename="茶.png", filetype="image/png"))
    ends = [0, 1, 100_000, 100_000, len(DATA)]
    for start, end in pairwise(ends):
        reply = await desk.add(path, start, DATA[start:end])
        assert (reply.status, reply.headers["upload-offset"]) == (204, str(end))
    told = await desk.ask("GET", path)
    document = told.json()
    assert (document["name"], document["type"], document["complete"], document["size"]) == (
        "茶.png", "image/png", True, len(DATA),
    )  # fmt: skip
    reply = await content(desk, path)
    assert (reply.status, reply.body) == (200, DATA)
    assert reply.headers["content-disposition"] == "inline; filename*=UTF-8''%E8%8C%B6.png"
    assert reply.headers["etag"] == f'"{document["sha256"]}"'
    assert "immutable" in reply.headers["cache-control"]


async def test_where_an_upload_stands_is_told_with_what_was_said_of_it(desk):
    said = metadata(filename="a.bin", colour="red")
    path = await desk.begun(10, upload_metadata=said)
    await desk.add(path, 0, b"1234")
    reply = await desk.stand(path)
    assert reply.status == 200
    assert (reply.headers["upload-offset"], reply.headers["upload-length"]) == ("4", "10")
    assert (reply.headers["upload-metadata"], reply.headers["cache-control"]) == (said, "no-store")
    assert "upload-expires" in reply.headers


async def test_bytes_may_come_with_the_creation_all_or_the_first(desk):
    reply = await desk.create(10, body=b"1234", content_type=BYTES)
    assert (reply.status, reply.headers["upload-offset"]) == (201, "4")
    path = reply.headers["location"]
    assert (await desk.add(path, 4, b"567890")).status == 204
    assert (await content(desk, path)).body == b"1234567890"
    whole = await desk.create(4, body=b"1234", content_type=BYTES)
    assert (await content(desk, whole.headers["location"])).body == b"1234"


async def test_an_empty_file_is_complete_at_once(desk):
    path = await desk.begun(0)
    assert (await desk.stand(path)).headers["upload-offset"] == "0"
    reply = await content(desk, path)
    assert (reply.status, reply.body) == (200, b"")


async def test_a_length_may_be_told_later_and_once(desk):
    path = await desk.begun(upload_defer_length="1")
    assert (await desk.stand(path)).headers["upload-defer-length"] == "1"
    assert (await desk.add(path, 0, b"1234")).status == 204
    assert (await desk.add(path, 4, b"5", upload_length="3")).status == 400
    assert (await desk.add(path, 4, b"5", upload_length="6")).status == 204
    assert (await desk.add(path, 5, b"6", upload_length="7")).status == 400
    assert (await desk.add(path, 5, b"6", upload_length="6")).status == 204
    assert (await content(desk, path)).body == b"123456"


async def test_mini_programs_send_patch_as_post(desk):
    path = await desk.begun(4)
    reply = await desk.add(path, 0, b"1234", method="POST", x_http_method_override="PATCH")
    assert reply.status == 204
    refused = await desk.add(path, 4, b"", method="POST")
    assert (refused.status, refused.problem) == (405, "method-not-allowed")
    assert "PATCH" in refused.headers["allow"]
    assert (await desk.ask("POST", "/v1/me", x_http_method_override="PATCH")).status == 404


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
async def test_bytes_that_are_not_those_of_their_checksum_are_not_kept(desk, algorithm):
    path = await desk.begun(len(DATA))
    wrong = await desk.add(path, 0, DATA[:200_000], upload_checksum=checksum(algorithm, b"other"))
    assert (wrong.status, wrong.problem) == (460, "checksum-mismatch")
    assert (await desk.stand(path)).headers["upload-offset"] == "0"
    right = await desk.add(path, 0, DATA[:1000], upload_checksum=checksum(algorithm, DATA[:1000]))
    assert right.status == 204
    wrong = await desk.add(path, 1000, bytes(5000), upload_checksum=checksum(algorithm, b""))
    assert wrong.status == 460
    assert (await desk.add(path, 1000, DATA[1000:])).status == 204
    assert (await content(desk, path)).body == DATA


async def test_partial_uploads_become_one_file_in_the_order_they_are_named(desk):
    parts = [await desk.begun(len(each), upload_concat="partial") for each in (b"one,", b"", b"two,", b"three")]
    for path, each in zip(parts, (b"one,", b"", b"two,", b"three"), strict=True):
        if each:
            await desk.add(path, 0, each)
    order = [parts[2], parts[1], parts[0], parts[3], parts[0]]
    reply = await desk.create(upload_concat="final;" + " ".join(order), upload_metadata=metadata(filename="all.txt"))
    assert reply.status == 201
    path = reply.headers["location"]
    assert (await content(desk, path)).body == b"two,one,threeone,"
    stand = await desk.stand(path)
    assert stand.headers["upload-concat"] == "final;" + " ".join(order)
    assert stand.headers["upload-length"] == "17"
    assert (await desk.add(path, 17, b"more")).status == 403


@pytest.mark.parametrize(
    ("concat", "status"),
    [
        ("final;", 400),
        ("final;/v1/files/" + "0" * 32, 404),
        ("final;/v1/files/../../etc/passwd", 400),
        ("final;/v1/me", 400),
        ("finally", 400),
        ("final;" + " /v1/files/" + "0" * 31, 400),
    ],
)
async def test_a_final_upload_of_parts_that_are_none_is_refused(desk, concat, status):
    assert (await desk.create(upload_concat=concat)).status == status
    assert desk.kept() == []


async def test_parts_of_somebody_else_or_not_complete_or_no_parts_are_refused(desk):
    theirs, own = await desk.begun(1, upload_concat="partial", by=BOB), await desk.begun(1, upload_concat="partial")
    single = await desk.whole(b"1")
    for path, status in ((theirs, 404), (own, 400), (single, 400)):
        assert (await desk.create(upload_concat=f"final;{path}")).status == status


async def test_a_deleted_upload_or_file_leaves_nothing_behind(desk):
    unfinished, file = await desk.begun(10), await desk.whole(b"1234")
    await desk.add(unfinished, 0, b"123")
    for path in (unfinished, file):
        assert (await desk.ask("DELETE", path)).status == 204
        assert (await desk.stand(path)).status == 404
        assert (await desk.ask("DELETE", path)).status == 404
    assert desk.kept() == []


async def test_equal_files_are_stored_once_and_freed_with_the_last_of_them(desk):
    first, second, third = await desk.whole(DATA), await desk.whole(DATA, by=BOB), await desk.whole(DATA)
    assert len(desk.kept()) == 1
    assert (await desk.ask("DELETE", first)).status == 204
    assert (await content(desk, second, by=BOB)).body == DATA
    assert (await desk.ask("DELETE", second, by=BOB)).status == 204
    assert (await content(desk, third)).body == DATA
    assert (await desk.ask("DELETE", third)).status == 204
    assert desk.kept() == []


async def test_an_upload_that_is_not_finished_in_time_is_gone(desk):
    path = await desk.begun(10)
    await desk.add(path, 0, b"123")
    desk.clock.advance(3599)
    await desk.add(path, 3, b"4")
    desk.clock.advance(3599)
    assert (await desk.stand(path)).status == 200
    desk.clock.advance(2)
    reply = await desk.add(path, 4, b"5")
    assert (reply.status, reply.problem) == (410, "upload-expired")
    assert await desk.files.sweep() == 1
    assert (await desk.stand(path)).status == 404
    assert desk.kept() == []
    file = await desk.whole(b"1")
    desk.clock.advance(10_000)
    assert await desk.files.sweep() == 0
    assert (await content(desk, file)).body == b"1"


# --- bad input ---


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 400),
        ({"upload_length": "-1"}, 400),
        ({"upload_length": "9223372036854775808"}, 400),
        ({"upload_length": "9223372036854775807"}, 413),
        ({"upload_length": "10000001"}, 413),
        ({"upload_length": "1e3"}, 400),
        ({"upload_length": "0x10"}, 400),
        ({"upload_length": "٣"}, 400),
        ({"upload_length": "1", "upload_defer_length": "1"}, 400),
        ({"upload_defer_length": "2"}, 400),
        ({"upload_length": "1", "tus_resumable": "0.2.2"}, 412),
        ({"upload_length": "1", "upload_metadata": "filename !!!"}, 400),
        ({"upload_length": "1", "upload_metadata": "a YQ==,a YQ=="}, 400),
        ({"upload_length": "1", "upload_metadata": "filename /w=="}, 400),
        ({"upload_length": "1", "upload_metadata": metadata(filename="a\r\nSet-Cookie: b")}, 422),
        ({"upload_length": "1", "upload_metadata": metadata(filename="../../etc/passwd")}, 422),
        ({"upload_length": "1", "upload_metadata": metadata(filename="..\\boot.ini")}, 422),
        ({"upload_length": "1", "upload_metadata": metadata(filename="n" * 256)}, 422),
        ({"upload_length": "1", "upload_metadata": metadata(filetype="text/html\r\nx: y")}, 422),
        ({"upload_length": "1", "upload_metadata": metadata(filetype="html")}, 422),
        ({"upload_length": "1", "upload_metadata": metadata(x="y" * 4000)}, 413),
    ],
)
async def test_a_creation_that_makes_no_sense_is_refused_and_leaves_nothing(desk, fields, status):
    if "٣" in fields.get("upload_length", ""):
        fields = {"upload_length": "\xd9\xa3"}
    reply = await desk.ask("POST", "/v1/files", **fields)
    assert reply.status == status
    if status == 412:
        assert reply.headers["tus-version"] == "1.0.0"
    assert (await desk.ask("GET", "/v1/files")).json()["items"] == []


@pytest.mark.parametrize(
    ("fields", "status", "problem"),
    [
        ({"upload_offset": "3"}, 409, "upload-offset-mismatch"),
        ({"upload_offset": "5"}, 409, "upload-offset-mismatch"),
        ({"upload_offset": "-4"}, 400, "bad-request"),
        ({"upload_offset": ""}, 400, "bad-request"),
        ({"content_type": "application/octet-stream"}, 415, "unsupported-media-type"),
        ({"tus_resumable": ""}, 412, "tus-version-unsupported"),
        ({"upload_checksum": "crc32 AAAA"}, 400, "bad-request"),
        ({"upload_checksum": "sha1 AAAA"}, 400, "bad-request"),
        ({"upload_checksum": "sha1"}, 400, "bad-request"),
        ({"by": BOB}, 404, "not-found"),
    ],
)
async def test_bytes_that_make_no_sense_are_refused_and_what_was_kept_stays(desk, fields, status, problem):
    path = await desk.begun(10)
    await desk.add(path, 0, b"1234")
    reply = await desk.add(path, 4, b"56", **fields)
    assert (reply.status, reply.problem) == (status, problem)
    assert (await desk.stand(path)).headers["upload-offset"] == "4"
    assert (await desk.add(path, 4, b"567890")).status == 204
    assert (await content(desk, path)).body == b"1234567890"


async def test_more_bytes_than_the_upload_was_to_have_are_refused(desk):
    path = await desk.begun(10)
    reply = await desk.add(path, 0, b"12345678901")
    assert (reply.status, reply.problem) == (413, "content-too-large")
    wire = await desk.live.connect()
    fields = {"content_type": BYTES, "upload_offset": "0", "content_length": "", "transfer_encoding": "chunked"}
    wire.send(raw("PATCH", path, **fields) + b"b\r\n12345678901\r\n0\r\n\r\n")
    assert (await wire.reply()).status == 413
    assert (await desk.stand(path)).headers["upload-offset"] == "0"


async def test_others_neither_see_nor_change_nor_delete_an_upload_or_a_file(desk):
    for path in (await desk.begun(10), await desk.whole(b"1234")):
        for method, address in (("HEAD", path), ("GET", path), ("GET", f"{path}/content"), ("DELETE", path)):
            assert (await desk.ask(method, address, by=BOB)).status == 404
            assert (await desk.ask(method, address, by="")).status == 401
        assert (await desk.stand(path, by=ANN)).status == 200
    assert (await desk.ask("GET", "/v1/files", by=BOB)).json() == {"items": [], "nextCursor": None}


async def test_nobody_has_more_than_their_quota_and_all_not_more_than_the_total(tmp_path):
    limits = UploadLimits(max_bytes=100, quota_bytes=100, total_bytes=150, expire_seconds=10)
    async with opened(tmp_path, limits) as desk:
        first = await desk.begun(60)
        reply = await desk.create(41)
        assert (reply.status, reply.problem) == (413, "quota-exceeded")
        assert (await desk.create(40)).status == 201
        reply = await desk.create(60, by=BOB)
        assert (reply.status, reply.problem) == (507, "insufficient-storage")
        await desk.ask("DELETE", first)
        assert (await desk.create(60, by=BOB)).status == 201


async def test_the_list_goes_page_by_page_newest_first(desk):
    paths = [await desk.begun(1) for _ in range(5)]
    seen, cursor = [], ""
    while True:
        page = (await desk.ask("GET", f"/v1/files?limit=2{cursor}")).json()
        seen += [f"/v1/files/{each['id']}" for each in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert seen == paths[::-1]


# --- lines that break ---


async def test_a_connection_cut_at_any_byte_of_a_small_upload_loses_nothing_that_had_come(desk):
    data = b"0123456789abcdef"
    head = len(raw("PATCH", await desk.begun(1), data, content_type=BYTES, upload_offset="0")) - len(data)
    for cut in range(head - 3, head + len(data) + 1):
        path = await desk.begun(len(data))
        wire = await desk.live.connect()
        wire.send(raw("PATCH", path, data, content_type=BYTES, upload_offset="0")[:cut])
        await wire.writer.drain()
        wire.close()
        await eventually(lambda: not desk.live.server._connections)
        await eventually(lambda: not desk.live.server.running)
        offset = int((await desk.stand(path)).headers["upload-offset"])
        assert offset == max(0, cut - head)
        if offset < len(data):
            assert (await desk.add(path, offset, data[offset:])).status == 204
        assert (await content(desk, path)).body == data


async def test_a_client_that_comes_back_takes_the_upload_from_its_dead_connection(desk):
    path = await desk.begun(10)
    dead = await desk.live.connect()
    dead.send(raw("PATCH", path, b"", content_type=BYTES, upload_offset="0", content_length="10") + b"1234")
    await eventually(lambda: len(desk.files.holders) == 1)
    rival = await desk.add(path, 0, b"x")
    assert (rival.status, rival.problem) == (423, "upload-locked")
    reply = await desk.stand(path)
    assert reply.headers["upload-offset"] == "4"
    assert (await dead.reply()).status == 423
    assert (await desk.add(path, 4, b"567890")).status == 204
    assert (await content(desk, path)).body == b"1234567890"


async def test_two_who_write_the_same_upload_never_mix_their_bytes(desk):
    path = await desk.begun(200_000)
    bodies = [bytes([number]) * 100_000 for number in range(8)]
    replies = await asyncio.gather(*(desk.add(path, 0, body) for body in bodies))
    assert sorted(reply.status for reply in replies).count(204) >= 1
    offset = int((await desk.stand(path)).headers["upload-offset"])
    assert offset == 100_000
    await desk.add(path, offset, bytes([9]) * 100_000)
    assert len(set((await content(desk, path)).body[:100_000])) == 1


async def test_more_bytes_than_the_upload_was_to_have_are_not_kept_where_the_connection_is_cut_either(desk):
    path = await desk.begun(10)
    wire = await desk.live.connect()
    fields = {"content_type": BYTES, "upload_offset": "0", "content_length": "", "transfer_encoding": "chunked"}
    wire.send(raw("PATCH", path, **fields) + b"b\r\n12345678901\r\n")
    await eventually(lambda: len(desk.files.holders) == 1)
    wire.close()
    await eventually(lambda: not desk.files.holders)
    stand = await desk.stand(path)
    assert (stand.headers["upload-offset"], stand.headers["upload-length"]) == ("0", "10")
