from pathlib import Path

from bench.access_log import AccessLog
from bench.servers import file_name


def test_an_emptied_log_counts_from_the_start_again(tmp_path: Path):
    file = tmp_path / "access.log"
    file.write_bytes(b"one\ntwo\n")
    log = AccessLog(file)
    assert log.count() == 2
    log.empty()
    with file.open("ab") as more:
        more.write(b"three\n")
    assert log.count() == 1


def test_lines_that_arrive_between_two_looks_are_counted_once(tmp_path: Path):
    file = tmp_path / "access.log"
    file.write_bytes(b"one\ntw")
    log = AccessLog(file)
    assert log.count() == 1
    with file.open("ab") as more:
        more.write(b"o\n")
    assert log.count() == 2


def test_a_server_name_makes_a_plain_file_name():
    assert file_name("gin.Default(), sonic") == "gin-default-sonic"
