"""The questions that every shop is asked before it is measured: the right purchase, and each wrong one."""

import json
from collections.abc import Mapping

from bench.sameness import Question

SALE_LIMIT = 2
"""Units that one buyer may have of the sale that is asked about."""
BODY: Mapping[str, object] = {"quantity": 1}


def shop_questions(sale: str, token: str) -> list[Question]:
    """In this order: the first purchase is asked again, then the buyer comes to the limit."""
    path = f"/v1/sales/{sale}/purchases"

    def purchase(
        meaning: str,
        right: int,
        *,
        key: str | None,
        body: bytes | None = None,
        to: str = path,
        **headers: str | None,
    ) -> Question:
        given = {"Authorization": f"Bearer {token}", "Idempotency-Key": key, **headers}
        sent = {name: value for name, value in given.items() if value is not None}
        return Question(meaning, "POST", to, body or json.dumps(BODY).encode(), (right,), sent)

    forged = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
    return [
        Question("the sale", "GET", f"/v1/sales/{sale}"),
        Question("a sale that is not there", "GET", f"/v1/sales/{'0' * 32}", right=(404,)),
        purchase("no token", 401, key="k-0", Authorization=None),
        purchase("a token that somebody else signed", 401, key="k-0", Authorization=f"Bearer {forged}"),
        purchase("a word instead of a token", 401, key="k-0", Authorization="Bearer tea"),
        purchase("no key", 400, key=None),
        purchase("a key too long", 422, key="k" * 65),
        purchase("a key with a space", 422, key="k 0"),
        purchase("no JSON at all", 400, key="k-0", body=b'{"quantity": 1'),
        purchase("no quantity", 422, key="k-0", body=b"{}"),
        purchase("a quantity of nothing", 422, key="k-0", body=b'{"quantity":0}'),
        purchase("a quantity as text", 422, key="k-0", body=b'{"quantity":"1"}'),
        purchase("an unknown field", 422, key="k-0", body=b'{"quantity":1,"colour":"green"}'),
        purchase("a purchase of a sale that is not there", 404, key="k-0", to=f"/v1/sales/{'0' * 32}/purchases"),
        purchase("a purchase", 202, key="k-1"),
        purchase("the same purchase again", 202, key="k-1"),
        purchase("the same key for another quantity", 422, key="k-1", body=b'{"quantity":2}'),
        purchase("a key with a quotation mark", 202, key='k-"2"\\'),
        purchase("the same key with a quotation mark again", 202, key='k-"2"\\'),
        purchase("more than one buyer may have", 409, key="k-3"),
    ]
