"""Each promise against a ledger in which it, and as far as possible it alone, is broken."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from teahouse.demo.ledger import MOST_KEPT, Ask, Late, Ledger, Probe, Reply, Twins
from teahouse.demo.promises import judge
from teahouse.demo.talk import Heard, Push
from tests.demo.ledgers import DUE, a_good_day, accept, books


def broken(ledger: Ledger) -> dict[str, list[str]]:
    return {verdict.promise: verdict.broken for verdict in judge(ledger) if not verdict.kept}


def test_a_good_day_keeps_every_promise():
    assert broken(a_good_day()) == {}
    assert len(judge(a_good_day())) == 13


def one_too_many(ledger: Ledger) -> None:
    accept(ledger, 4, "e", "paid")


def reserved_too_many(ledger: Ledger) -> None:
    ledger.books.insert(1, books(-1, 4, 0))


def left_after_the_rush(ledger: Ledger) -> None:
    ledger.rush_books = books(1, 2, 0)


def left_in_the_evening(ledger: Ledger) -> None:
    ledger.books.append(books(1, 0, 2))


def an_item_that_is_nowhere(ledger: Ledger) -> None:
    ledger.books.insert(1, books(1, 0, 1))


def a_difference(ledger: Ledger) -> None:
    ledger.books.insert(1, books(0, 1, 2, difference=1))


def another_stock(ledger: Ledger) -> None:
    ledger.books.insert(1, books(4, 0, 0, initial=4))


def no_books(ledger: Ledger) -> None:
    ledger.books.clear()


def sold_without_a_receipt(ledger: Ledger) -> None:
    ledger.orders["d"] = (3, msgspec.structs.replace(ledger.orders["d"][1], status="cancelled"))


def an_order_that_is_gone(ledger: Ledger) -> None:
    ledger.orders.pop("c")


def an_order_nobody_asked_for(ledger: Ledger) -> None:
    ledger.orders["x"] = (4, msgspec.structs.replace(ledger.orders["c"][1], order_id="x"))


def an_order_of_another_size(ledger: Ledger) -> None:
    ledger.orders["c"] = (2, msgspec.structs.replace(ledger.orders["c"][1], quantity=2))


def an_order_that_cannot_be_read(ledger: Ledger) -> None:
    ledger.unreadable.add("order a was accepted, then: 404")


def other_bytes(ledger: Ledger) -> None:
    ledger.twins.append(Twins("Asked twice", Reply(202, "", b'{"a":1}'), Reply(202, "", b'{"a": 1}')))


def another_refusal(ledger: Ledger) -> None:
    ledger.twins.append(Twins("Asked twice", Reply(409, "sold-out", b""), Reply(409, "limit-reached", b"")))


def two_for_one(ledger: Ledger) -> None:
    ledger.accepted(0, msgspec.structs.replace(ledger.sold["a"].reserved, order_id="b2"), resold=False)
    ledger.orders["b2"] = (0, msgspec.structs.replace(ledger.orders["c"][1], order_id="b2"))


def the_wrong_reason(ledger: Ledger) -> None:
    ledger.refusal(Ask.GREEDY, 409, "sold-out")


def the_wrong_status(ledger: Ledger) -> None:
    ledger.refusal(Ask.RUSH, 400, "sold-out")


def a_probe_that_got_through(ledger: Ledger) -> None:
    ledger.probes.append(Probe("A forged access token", "401 access-token-invalid", "200 "))


def something_still_reserved(ledger: Ledger) -> None:
    ledger.orders["d"] = (3, msgspec.structs.replace(ledger.orders["d"][1], status="reserved"))
    ledger.books.append(books(0, 1, 2))


def too_slow_to_return(ledger: Ledger) -> None:
    ledger.in_time = False


def money_that_is_nowhere(ledger: Ledger) -> None:
    ledger.late.append(Late("lost", 0, 0))


def money_for_nothing(ledger: Ledger) -> None:
    ledger.late.append(Late("settled", 0, 0))


def money_sent_back_too_soon(ledger: Ledger) -> None:
    ledger.late.append(Late("refund-due", 5, 5))


def a_lost_socket(ledger: Ledger) -> None:
    ledger.talk.tally.lost[1006] += 1


def a_message_nobody_heard(ledger: Ledger) -> None:
    ledger.talk.tally.say("m3", 0, 5, 3.0)
    ledger.talk.acknowledge("m3", 3, 3.001)


def a_message_that_was_not_acknowledged(ledger: Ledger) -> None:
    ledger.talk.tally.say("m3", 0, 1, 3.0)


def a_message_that_was_refused(ledger: Ledger) -> None:
    ledger.talk.tally.say("m3", 0, 1, 3.0)
    ledger.talk.tally.refuse("m3", "too-many-frames")


def a_message_heard_twice(ledger: Ledger) -> None:
    ledger.talk.deliver("m1", 1, 1, 3.0)


def a_message_out_of_sequence(ledger: Ledger) -> None:
    ledger.talk.tally.disordered += 1


def a_message_with_two_numbers(ledger: Ledger) -> None:
    ledger.talk.misnumbered += 1


def a_gap_between_messages(ledger: Ledger) -> None:
    ledger.talk.seqs["shop-2"] = 3


def a_result_nobody_heard(ledger: Ledger) -> None:
    del ledger.talk.heard["a", "paid"]


def a_result_told_to_another_buyer(ledger: Ledger) -> None:
    ledger.talk.pushes.append(Push(1, "a", "paid", DUE.timestamp()))


def a_result_of_no_order(ledger: Ledger) -> None:
    ledger.talk.pushes.append(Push(1, "x", "paid", DUE.timestamp()))


def a_wrong_result(ledger: Ledger) -> None:
    ledger.talk.pushes.append(Push(0, "a", "cancelled", DUE.timestamp()))


def an_expiry_before_its_time(ledger: Ledger) -> None:
    ledger.talk.pushes.append(Push(0, "a", "expired", DUE.timestamp() - 1.0))


def a_result_told_twice(ledger: Ledger) -> None:
    ledger.talk.pushes.append(ledger.talk.pushes[0])


def one_order_for_two(ledger: Ledger) -> None:
    ledger.accepted(4, ledger.sold["a"].reserved, resold=False)


@pytest.mark.parametrize(
    ("crime", "promise"),
    [
        (one_too_many, "Never more sold"),
        (reserved_too_many, "Never more sold"),
        (left_after_the_rush, "Nothing left over"),
        (left_in_the_evening, "Nothing left over"),
        (an_item_that_is_nowhere, "The books add up"),
        (a_difference, "The books add up"),
        (another_stock, "The books add up"),
        (no_books, "The books add up"),
        (sold_without_a_receipt, "What buyers hold"),
        (an_order_that_is_gone, "Every accepted purchase"),
        (an_order_nobody_asked_for, "Every accepted purchase"),
        (an_order_of_another_size, "Every accepted purchase"),
        (an_order_that_cannot_be_read, "Every accepted purchase"),
        (other_bytes, "Asked twice"),
        (another_refusal, "Asked twice"),
        (two_for_one, "Nobody has more"),
        (the_wrong_reason, "Every refusal"),
        (the_wrong_status, "Every refusal"),
        (a_probe_that_got_through, "Every refusal"),
        (something_still_reserved, "What is not paid"),
        (too_slow_to_return, "What is not paid"),
        (money_that_is_nowhere, "Money that comes too late"),
        (money_for_nothing, "Money that comes too late"),
        (money_sent_back_too_soon, "Money that comes too late"),
        (a_lost_socket, "Every message"),
        (a_message_nobody_heard, "Every message"),
        (a_message_that_was_not_acknowledged, "Every message"),
        (a_message_that_was_refused, "Every message"),
        (a_message_heard_twice, "Every message"),
        (a_message_out_of_sequence, "Every message"),
        (a_message_with_two_numbers, "Every message"),
        (a_gap_between_messages, "Every message"),
        (a_result_nobody_heard, "Every buyer hears"),
        (a_result_told_to_another_buyer, "Every buyer hears"),
        (a_result_of_no_order, "Every buyer hears"),
        (a_wrong_result, "Every buyer hears"),
        (an_expiry_before_its_time, "Every buyer hears"),
        (a_result_told_twice, "Every buyer hears"),
        (one_order_for_two, "Every request"),
    ],
)
def test_a_broken_promise_is_seen_and_explained(crime: Callable[[Ledger], None], promise: str):
    ledger = a_good_day()
    crime(ledger)
    [found] = [name for name in broken(ledger) if name.startswith(promise)]
    assert all(broken(ledger)[found])


def test_a_result_that_was_asked_for_is_heard_too():
    ledger = a_good_day()
    ledger.talk.pushes.clear()
    ledger.talk.heard = {key: Heard(by_push=False, seconds=3.0) for key in ledger.talk.heard}
    assert broken(ledger) == {}


def test_what_was_paid_too_late_may_have_been_told_to_be_expired():
    ledger = a_good_day()
    ledger.talk.pushes.append(Push(0, "a", "expired", DUE.timestamp() + 0.1))
    assert broken(ledger) == {}


def test_of_many_mishaps_the_first_are_told_and_all_are_counted():
    ledger = a_good_day()
    for number in range(1000):
        ledger.surprises.add(f"number {number}")
    [told] = broken(ledger).values()
    assert told[0] == "number 0"
    assert told[-1] == f"and {1000 - MOST_KEPT} more"
