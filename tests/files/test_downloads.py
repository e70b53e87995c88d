"""Downloads: the whole, parts of it, and what may be kept."""

from __future__ import annotations

import os

import pytest

from tests.files.desk import metadata, opened

DATA = os.urandom(300_001)


@pytest.fixture
async def desk(tmp_path):
    async with opened(tmp_path) as desk:
        yield desk


async def content(desk, path, **fields):
    return await desk.ask("GET", f"{path}/content", **fields)


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=300000-", 300_000, 300_001),
        ("bytes=-5", 299_996, 300_001),
        ("bytes=-999999", 0, 300_001),
        ("bytes=299999-999999999", 299_999, 300_001),
        ("BYTES= 1-2 ", 1, 3),
    ],
)
async def test_a_part_of_a_file_is_that_part(desk, asked, start, end):
    path = await desk.whole(DATA)
    reply = await content(desk, path, range=asked)
    assert (reply.status, reply.body) == (206, DATA[start:end])
    assert reply.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"


@pytest.mark.parametrize("asked", ["bytes=5-4", "bytes=a-b", "lines=1-2", "bytes=", "bytes=-", "bytes=0-,0-", "0-5"])
async def test_a_range_that_is_none_or_more_than_the_file_gets_the_whole(desk, asked):
    path = await desk.whole(DATA)
    reply = await content(desk, path, range=asked)
    assert (reply.status, reply.body) == (200, DATA)


@pytest.mark.parametrize("asked", ["bytes=300001-", "bytes=999999-1000000", "bytes=-0"])
async def test_a_range_behind_the_end_is_not_satisfiable(desk, asked):
    reply = await content(desk, await desk.whole(DATA), range=asked)
    assert (reply.status, reply.headers["content-range"]) == (416, f"bytes */{len(DATA)}")


async def test_several_parts_come_as_one_body_with_their_places(desk):
    path = await desk.whole(DATA)
    reply = await content(desk, path, range="bytes=0-4, 10-11,-3")
    kind, _, boundary = reply.headers["content-type"].partition("; boundary=")
    assert (reply.status, kind) == (206, "multipart/byteranges")
    parts = reply.body.split(b"--" + boundary.encode())
    assert (parts[0], parts[-1]) == (b"\r\n", b"--\r\n")
    for part, (start, end) in zip(parts[1:-1], [(0, 5), (10, 12), (len(DATA) - 3, len(DATA))], strict=True):
        head, _, body = part.partition(b"\r\n\r\n")
        assert f"Content-Range: bytes {start}-{end - 1}/{len(DATA)}".encode() in head
        assert body == DATA[start:end] + b"\r\n"


async def test_who_has_a_file_already_is_told_so_and_ranges_hold_only_for_the_same_file(desk):
    path = await desk.whole(DATA)
    tag = (await content(desk, path)).headers["etag"]
    for held in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        reply = await content(desk, path, if_none_match=held)
        assert (reply.status, reply.headers["etag"], reply.body) == (304, tag, b"")
    assert (await content(desk, path, if_none_match='"other"')).status == 200
    assert (await content(desk, path, if_match='"other"')).status == 412
    assert (await content(desk, path, if_match=tag)).status == 200
    assert (await content(desk, path, range="bytes=0-1", if_range=tag)).status == 206
    for other in ('"other"', f"W/{tag}", "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert (await content(desk, path, range="bytes=0-1", if_range=other)).status == 200


async def test_an_unfinished_upload_has_no_content_and_a_head_has_no_body(desk):
    unfinished, path = await desk.begun(5), await desk.whole(DATA)
    assert (await content(desk, unfinished)).status == 404
    reply = await desk.ask("HEAD", f"{path}/content")
    assert (reply.status, reply.headers["content-length"]) == (200, str(len(DATA)))


async def test_what_may_run_in_a_browser_is_saved_and_never_shown(desk):
    path = await desk.whole(b"<script>", upload_metadata=metadata(filename='a"; b.html', filetype="text/html"))
    reply = await content(desk, path)
    assert reply.headers["content-disposition"] == "attachment; filename*=UTF-8''a%22%3B%20b.html"
    assert "sandbox" in reply.headers["content-security-policy"]
    assert reply.headers["x-content-type-options"] == "nosniff"
