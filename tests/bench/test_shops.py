"""What is sent to the shops, and what is made of their figures; the shops themselves are started by the bench."""

from dataclasses import replace

import pytest

from bench import growth, purchases_redis
from bench.figures import Sample
from bench.outcome import OURS
from bench.peers import SHOP
from bench.peers.shops import AUTOPIPELINE, CLIENTS, GO_REDIS, LUA, RECORDING, RUEIDIS, prefix, source, terms
from bench.purchases_redis import SETTINGS, facts, targets
from bench.sameness_shop import SALE_LIMIT, shop_questions
from bench.scaled import REDIS, Recorded

SALE_ID = "0198c0ffee" + "0" * 21 + "a"
SALE = {
    "id": SALE_ID,
    "productId": "b" * 32,
    "stock": 10,
    "price": 1900,
    "startsAt": "2026-11-24T00:00:00Z",
    "endsAt": "2026-11-25T00:00:00.250000Z",
    "perBuyerLimit": 2,
    "payWithinSeconds": 900,
    "remaining": 10,
    "status": "open",
    "serverTime": "2026-11-24T01:00:00Z",
}
ROUND = Sample(
    requests=100_000, seconds=2.0, p50_ms=1.0, p99_ms=2.0, cpu_seconds=2.0, resident_bytes=50_000_000,
    engine_seconds={REDIS: 0.5},
)  # fmt: skip
RECORDED = Recorded(
    orders=100_000, selling_seconds=2.0, behind_seconds=8.0, server_seconds=4.0, redis_seconds=1.0, database_seconds=1.5
)


def samples(rates: dict[str, float], redis_us: dict[str, float]) -> dict[str, list[Sample]]:
    return {
        name: [replace(ROUND, seconds=ROUND.requests / rate, engine_seconds={REDIS: redis_us[name] * 0.1})]
        for name, rate in rates.items()
    }


def test_the_peers_run_the_stock_script_of_teahouse_itself():
    text = source("reserve")
    assert text.endswith((LUA / "reserve.lua").read_text())
    assert "redis.call" in text


def test_a_sale_is_opened_for_the_peers_on_the_terms_of_the_answer():
    assert terms(SALE) == [
        SALE_ID, "b" * 32, 10, 1900, 1795478400000, 1795564800250, 2, 900, 1795482000000,
    ]  # fmt: skip
    assert prefix(SALE_ID) == "teahouse:{a}:"


def test_every_refusal_is_asked_about_and_no_question_twice():
    questions = shop_questions(SALE_ID, "header.payload.signature")
    rights = [right for question in questions for right in question.right]
    assert {200, 202, 400, 401, 404, 409, 422} == set(rights)
    assert len({question.meaning for question in questions}) == len(questions)
    assert rights.count(202) == SALE_LIMIT * 2  # each of them is asked again


def test_a_wrong_purchase_is_wrong_in_one_thing():
    right, *_ = (each for each in shop_questions(SALE_ID, "h.p.signature") if each.meaning == "a purchase")
    for question in shop_questions(SALE_ID, "h.p.signature"):
        if question.method != "POST" or 202 in question.right or question.meaning.startswith("more than"):
            continue
        same_head = question.headers.get("Authorization") == right.headers["Authorization"]
        same_path, same_body = question.path == right.path, question.body == right.body
        plain_key = question.headers.get("Idempotency-Key") in {"k-0", "k-1"}
        assert [same_head, same_path, same_body, plain_key].count(False) == 1, question.meaning


def test_a_forged_token_differs_from_the_right_one():
    for token in ("h.p.sigAAAA", "h.p.sigBBBB"):
        [forged] = [each for each in shop_questions(SALE_ID, token) if "somebody else" in each.meaning]
        assert forged.headers["Authorization"] != f"Bearer {token}"
        assert len(forged.headers["Authorization"]) == len(f"Bearer {token}")


def test_the_description_names_connections_and_how_redis_writes():
    for setting in SETTINGS:
        does = purchases_redis.DOES.format(connections=setting.connections, fsync=setting.fsync)
        assert f"{setting.connections} connections" in does
        assert f"`appendfsync {setting.fsync}`" in does
        assert "/v1/sales/{id}/purchases" in does
    assert len({setting.title for setting in SETTINGS}) == len(SETTINGS)


def test_the_targets_look_at_the_fastest_pipelining_and_at_redis():
    rates = {OURS: 40_000, GO_REDIS: 20_000, AUTOPIPELINE: 25_000, RUEIDIS: 38_000}
    redis = {OURS: 5.0, GO_REDIS: 20.0, AUTOPIPELINE: 18.0, RUEIDIS: 18.0}
    twice, best, quarter = targets(samples(rates, redis))
    assert twice.reached
    assert not best.reached
    assert RUEIDIS in best.text
    assert quarter.reached


def test_a_target_that_is_just_missed_is_missed():
    rates = {OURS: 39_900, GO_REDIS: 20_000, AUTOPIPELINE: 20_000, RUEIDIS: 20_000}
    redis = {OURS: 5.1, GO_REDIS: 20.0, AUTOPIPELINE: 18.0, RUEIDIS: 18.0}
    twice, best, quarter = targets(samples(rates, redis))
    assert [twice.reached, best.reached, quarter.reached] == [False, True, False]


def test_peak_shaving_is_told_as_two_rates_and_a_time():
    books, shaving, peers = facts(
        {OURS: [RECORDED, replace(RECORDED, behind_seconds=3.0), RECORDED], RECORDING: [RECORDED]}
    )
    assert "300,000 accepted purchases" in books
    assert peers.startswith(RECORDING)
    assert "sold at 50,000/s, recorded at 10,000/s" in shaving
    assert "8.0 s after the last answer (median; 3.0 to 8.0 s)" in shaving
    assert "40.0 µs of CPU in the server, 10.0 µs in Redis and 15.0 µs in MariaDB" in shaving


@pytest.mark.parametrize(("factor", "reached"), [(1.05, True), (1.2, False)])
def test_growth_compares_a_worker_with_itself(factor: float, reached: bool):
    later = replace(ROUND, cpu_seconds=ROUND.cpu_seconds * factor)
    outcome = growth.outcome([ROUND], [later], weight=812.4)
    [target] = outcome.targets
    assert target.reached is reached
    assert f"{factor:.2f} × the server's CPU" in outcome.facts[1]
    assert "812 bytes" in outcome.facts[0]


def test_the_program_knows_the_names_of_the_clients():
    program = (SHOP / "main.go").read_text()
    assert [name for name in CLIENTS.values() if f'case "{name}":' not in program] == []
