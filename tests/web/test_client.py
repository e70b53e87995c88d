"""The HTTP client against the real server, over http and https."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from teahouse.problems import SoldOut
from teahouse.web import App, Request
from teahouse.web.client import (
    Client,
    ClientError,
    ConnectionLost,
    PoolExhausted,
    TimedOut,
    Unreachable,
)
from teahouse.web.server import Server
from tests.web.scripted import OK, answering, scripted, until


class Cup(msgspec.Struct, forbid_unknown_fields=True):
    size: int


class Tea:
    """A small app that remembers what reached it."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.gate = asyncio.Event()
        self.app = app = App()

        @app.get("/tea/{kind}")
        def tea(kind: str, request: Request) -> dict[str, str]:
            self.seen.append(request)
            return {"kind": kind}

        @app.post("/cups", status=201)
        def cups(body: Cup, request: Request) -> Cup:
            self.seen.append(request)
            return body

        @app.post("/sold-out")
        def sold_out() -> None:
            raise SoldOut

        @app.post("/later")
        async def later(request: Request) -> None:
            self.seen.append(request)
            await self.gate.wait()


@asynccontextmanager
async def tea_house() -> AsyncIterator[tuple[Tea, str]]:
    tea = Tea()
    await tea.app.startup()
    server = Server(tea.app)
    port = await server.start("127.0.0.1", 0)
    try:
        yield tea, f"http://127.0.0.1:{port}"
    finally:
        await server.stop(1)
        await tea.app.shutdown(1)


async def test_an_answer_has_its_status_headers_and_json():
    async with tea_house() as (_, url), Client(url) as client:
        answer = await client.get("/tea/oolong")
        assert (answer.status, answer.json()) == (200, {"kind": "oolong"})
        assert answer.headers["content-type"] == "application/json"
        assert answer.seconds > 0
        assert answer.problem is None


async def test_a_body_is_sent_as_json_with_its_token_and_headers():
    async with tea_house() as (tea, url), Client(url) as client:
        answer = await client.post("/cups", json=Cup(2), token="abc", headers={"Idempotency-Key": "k-1"})
        assert (answer.status, answer.read(Cup)) == (201, Cup(2))
        assert tea.seen[0].header("authorization") == "Bearer abc"
        assert tea.seen[0].header("idempotency-key") == "k-1"


async def test_a_problem_is_read_as_one():
    async with tea_house() as (_, url), Client(url) as client:
        problem = (await client.post("/sold-out")).problem
        assert problem is not None
        assert (problem.slug, problem.status, problem.instance) == ("sold-out", 409, "/sold-out")
        wrong = (await client.post("/cups", json={"size": "huge"})).problem
        assert wrong is not None
        assert wrong.errors[0].pointer == "/size"


async def test_one_connection_serves_many_requests():
    async with tea_house() as (_, url), Client(url) as client:
        for _ in range(20):
            await client.get("/tea/green")
        assert client.open_connections == 1


async def test_no_more_connections_are_opened_than_allowed():
    async with tea_house() as (_, url), Client(url, connections=3) as client:
        answers = await asyncio.gather(*(client.get(f"/tea/{number}") for number in range(50)))
        assert [answer.json()["kind"] for answer in answers] == [str(number) for number in range(50)]
        assert client.open_connections <= 3


async def test_no_more_requests_wait_than_allowed():
    async with tea_house() as (tea, url), Client(url, connections=1, max_waiting=1) as client:
        first = asyncio.create_task(client.post("/later"))
        await until(lambda: tea.seen)
        second = asyncio.create_task(client.post("/later"))
        await asyncio.sleep(0)
        with pytest.raises(PoolExhausted) as caught:
            await client.post("/later")
        assert not caught.value.sent
        tea.gate.set()
        assert [answer.status for answer in await asyncio.gather(first, second)] == [204, 204]


async def test_a_request_given_up_frees_its_place_and_its_connection_is_not_used_again():
    async with tea_house() as (tea, url), Client(url, connections=1) as client:
        waiting = asyncio.create_task(client.post("/later"))
        await until(lambda: tea.seen)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        tea.gate.set()
        assert (await client.get("/tea/black")).json() == {"kind": "black"}


async def test_no_answer_in_time_is_told_with_whether_it_was_sent():
    async with tea_house() as (_, url), Client(url, connections=1) as client:
        patient = asyncio.create_task(client.post("/later", timeout=0.2))
        await asyncio.sleep(0)
        with pytest.raises(TimedOut) as unsent:
            await client.get("/tea/black", timeout=0.02)
        assert not unsent.value.sent
        with pytest.raises(TimedOut) as sent:
            await patient
        assert sent.value.sent


async def test_an_address_where_nobody_listens_is_unreachable():
    async with scripted(answering()) as url:
        pass
    async with Client(url) as client:
        with pytest.raises(Unreachable, match="cannot be reached") as caught:
            await client.get("/tea/black")
        assert not caught.value.sent


async def test_who_hangs_up_has_been_heard():
    async with tea_house() as (tea, url), Client(url) as client:
        tea.gate.set()
        await client.hang_up("POST", "/later", headers={"Idempotency-Key": "k"})
        await until(lambda: tea.seen)
        assert tea.seen[0].header("idempotency-key") == "k"
        assert client.open_connections == 0


async def test_head_has_no_body_and_does_not_spoil_the_next_answer():
    async with tea_house() as (_, url), Client(url) as client:
        head = await client.request("HEAD", "/tea/white")
        assert (head.status, head.body) == (200, b"")
        assert (await client.get("/tea/white")).json() == {"kind": "white"}


async def test_an_address_may_have_a_path_before_every_path():
    async with tea_house() as (_, url), Client(url + "/tea/") as client:
        assert (await client.get("/red")).json() == {"kind": "red"}


def test_it_runs_on_uvloop_too():
    async def ask() -> object:
        async with tea_house() as (_, url), Client(url) as client:
            await client.hang_up("GET", "/tea/one")
            return (await client.get("/tea/two")).json()

    assert uvloop.run(ask()) == {"kind": "two"}


async def test_closing_ends_what_is_under_way():
    async with tea_house() as (tea, url):
        client = Client(url)
        waiting = asyncio.create_task(client.post("/later"))
        await until(lambda: tea.seen)
        await client.aclose()
        with pytest.raises(ConnectionLost):
            await waiting
        assert client.open_connections == 0


# --- https ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate for localhost that nobody has signed, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "localhost.pem"
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + signed.public_bytes(pem))
    return file


async def test_https_works_with_a_certificate_it_trusts_and_only_then(certificate: Path):
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with scripted(answering(OK, OK), tls=ours) as url:
        async with Client(url, tls=trusting) as client:
            assert [(await client.get("/one")).body for _ in range(2)] == [b"ok", b"ok"]
            assert client.open_connections == 1
        async with Client(url) as stranger:
            with pytest.raises(ClientError) as caught:
                await stranger.get("/one")
            assert not caught.value.sent
