import pytest

from bench.failures import BenchFailed
from bench.load import Answered, Load, parse, wrk_command

PROSE = """Running 1s test @ http://127.0.0.1:9000/user/42
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   698.31us  211.50us   7.12ms   91.05%
Requests/sec:  92335.12
"""
RESULT = 'bench-result {"requests":184000,"micros":2000000,"p50":700.0,"p99":1740.5,"refused":3,"broken":2}\n'


def test_the_result_is_found_among_the_prose_of_wrk():
    assert parse(PROSE + RESULT) == Answered(
        requests=184_000, seconds=2.0, p50_ms=0.7, p99_ms=1.7405, refused=3, broken=2
    )


def test_output_without_a_result_is_a_failure_that_shows_it():
    with pytest.raises(BenchFailed, match="64 connections"):
        parse(PROSE)


def test_wrk_gets_one_thread_and_the_script_its_arguments():
    load = Load("http://127.0.0.1:1/x", connections=64, seconds=5, script="same.lua", arguments=("POST", "body.json"))
    command = wrk_command(load)
    assert command[:4] == ["wrk", "--threads=1", "--connections=64", "--duration=5s"]
    assert command[-4:] == ["http://127.0.0.1:1/x", "--", "POST", "body.json"]


def test_wrk_never_runs_for_no_time():
    assert "--duration=1s" in wrk_command(Load("http://127.0.0.1:1/", connections=1, seconds=0.2, script="same.lua"))
