"""Purchases on the embedded default: durable before the answer, and nothing lost or sold twice afterwards."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench import load, teahouse
from bench.access_log import AccessLog
from bench.api import Api
from bench.failures import BenchFailed
from bench.figures import Sample, Spread
from bench.machine import Cores
from bench.outcome import OURS, Effort, Outcome, Target
from bench.rounds import measure, quietest
from bench.servers import Server, started

TITLE = "Purchases on the embedded default"
CONNECTIONS = 256
BUYERS = 2_000
WARM_UP = 5_000
FASTEST = 60_000
"""Purchases a second that nobody expects to reach: the stock is made for it."""
SLOWEST = 500
"""Purchases a second under which a round is given up."""
DOES = (
    f"`POST /v1/sales/{{id}}/purchases` with a buyer's JWT and an `Idempotency-Key` of its own: {BUYERS:,} buyers, "
    f"{CONNECTIONS} connections, the access log on. Each 202 is on disk (SQLite, WAL, `synchronous=FULL`) before it is "
    "sent; the table of orders grows from round to round. Afterwards the reconciliation must show as many orders as "
    "there were 202s, and no difference."
)


@dataclass(frozen=True, slots=True)
class Shop:
    """A sale that is open, and the buyers who came for it."""

    sale: str
    admin: Api
    tokens: Path


def run(*, folder: Path, cores: Cores, effort: Effort, advance: Callable[[str], None]) -> Outcome:
    """Raises BenchFailed when a purchase is refused, or the books do not add up at the end."""
    plan = teahouse.whole(OURS, folder)
    with started(plan, core=cores.server) as server:
        advance("opening the shop")
        shop = _open(server, folder, effort)
        log = AccessLog(server.plan.log) if server.plan.log else None
        advance("warming up")
        warm_up = _buy(server, shop, WARM_UP, 0, cores)
        count = max(WARM_UP, round(warm_up.rate * effort.seconds))
        accepted = WARM_UP

        def play(number: int) -> list[Sample]:
            nonlocal accepted
            advance(f"round {number}")
            sample = _buy(server, shop, count, number, cores)
            accepted += count
            if log:
                log.settle(server, count)
            return [sample]

        samples = [sample for (sample,) in quietest(effort.rounds, play)]
        books = shop.admin.get(f"/v1/sales/{shop.sale}/reconciliation")
    _balance(books, accepted)
    fact = f"Reconciliation after {accepted:,} accepted purchases: {books['orders']:,} orders, difference 0."
    rate = Spread.of([sample.rate for sample in samples]).middle
    target = Target("at least 10,000 purchases a second, difference 0", rate >= 10_000)
    return Outcome(TITLE, DOES, {OURS: samples}, [fact], [target])


def steps(effort: Effort) -> int:
    """How often ``run`` calls ``advance`` on a quiet machine."""
    return effort.rounds + 2


def _buy(server: Server, shop: Shop, count: int, number: int, cores: Cores) -> Sample:
    wanted = load.Load(
        url=server.url,
        connections=CONNECTIONS,
        seconds=max(10.0, count / SLOWEST),
        script="purchases.lua",
        arguments=(str(shop.tokens), f"/v1/sales/{shop.sale}/purchases", f"bench-{number}-", str(count)),
    )
    sample = measure(server, wanted, cores)
    if sample.requests != count:
        raise BenchFailed(f"{sample.requests} of {count} purchases were answered")
    return sample


def _open(server: Server, folder: Path, effort: Effort) -> Shop:
    password = secrets.token_urlsafe(18)
    teahouse.create_admin(folder, "bench", password)
    api = Api(server.plan.port)
    signed_in = api.post("/v1/auth/password", {"username": "bench", "password": password})
    admin = api.signed_in(signed_in["accessToken"])
    product = admin.post("/v1/products", {"name": "Tea", "description": "Green", "images": [], "price": 9900})
    now = datetime.now(UTC)
    stock = WARM_UP + round(FASTEST * effort.seconds) * 2 * effort.rounds
    sale = admin.post(
        "/v1/sales",
        {
            "productId": product["id"],
            "stock": stock,
            "price": 1900,
            "startsAt": _wire(now - timedelta(minutes=1)),
            "endsAt": _wire(now + timedelta(days=1)),
            "perBuyerLimit": stock,
            "payWithinSeconds": 86_400,
        },
    )
    return Shop(sale["id"], admin, _tokens(api, folder / "tokens.txt"))


def _tokens(api: Api, file: Path) -> Path:
    with file.open("w") as tokens:
        for number in range(BUYERS):
            code = f"sandbox-bench{number}-{secrets.token_hex(6)}"
            tokens.write(api.post("/v1/auth/wechat", {"code": code})["accessToken"] + "\n")
    return file


def _balance(books: dict[str, int], accepted: int) -> None:
    if books["difference"] != 0 or books["orders"] != accepted:
        raise BenchFailed(f"{accepted} purchases were accepted, but the books say {books}")


def _wire(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
