"""A pipe that several processes write at once: whole lines come out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

LINES, ROUNDS, LENGTH = 400, 20, 150
WRITER = f"""
import sys
from teahouse.web.descriptor import DescriptorWriter
writer = DescriptorWriter(1, name="test")
for _ in range({ROUNDS}):
    writer.write((sys.argv[1] * {LENGTH} + chr(10)).encode() * {LINES})
assert writer.close(60)
assert writer.dropped == 0
"""
LONG_LINE = """
from teahouse.web.descriptor import DescriptorWriter
writer = DescriptorWriter(1, name="test")
writer.write(b"short\\n" + b"x" * 20_000 + b"\\nend\\n")
assert writer.close(60)
"""


def test_lines_of_several_writers_do_not_run_into_each_other():
    reading, writing = os.pipe()
    names = "abc"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, name], stdout=writing) for name in names]
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123  # a descriptor, not a path
        read = pipe.read()
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert Counter(read.splitlines()) == {name.encode() * LENGTH: LINES * ROUNDS for name in names}


def test_a_line_longer_than_a_pipe_takes_whole_is_written_to_its_end():
    reading, writing = os.pipe()
    long = b"x" * 20_000
    done = subprocess.Popen([sys.executable, "-c", LONG_LINE], stdout=writing)
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123  # a descriptor, not a path
        assert pipe.read().splitlines() == [b"short", long, b"end"]
    assert done.wait(60) == 0
