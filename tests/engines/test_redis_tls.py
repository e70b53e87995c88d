"""Redis over TLS: the same bytes, encrypted."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from teahouse.problems import RedisUnavailable
from tests.engines.redis_clients import asked, connected, eventually, listening
from tests.proxies import proxy_to
from tests.redis_servers import free_port, redis_server


@pytest.fixture
def tls_server(tmp_path):
    """A server that takes TLS on ``tls``, with a certificate of its own making in ``tea.crt``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tea")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    crt, pem = tmp_path / "tea.crt", tmp_path / "tea.key"
    crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    port = free_port()
    options = {"tls_port": str(port), "tls_cert_file": str(crt), "tls_key_file": str(pem), "tls_auth_clients": "no"}
    with redis_server(tmp_path / "redis", tls_ca_cert_file=str(crt), **options):
        yield port, crt


async def test_calls_and_the_feed_go_over_tls_and_notice_when_it_is_cut(tls_server):
    port, crt = tls_server
    with proxy_to(port) as proxy:
        async with (
            connected(f"rediss://127.0.0.1:{proxy.port}/0?ssl_ca_certs={crt}") as redis,
            listening(redis) as feed,
        ):
            counts = await asyncio.gather(*(redis.ask("INCR", "cups") for _ in range(1000)))
            assert counts == list(range(1, 1001))
            big = b"x" * 5_000_000
            await redis.ask("SET", "big", big)
            assert await redis.ask("GET", "big") == big
            await eventually(lambda: feed.current)
            proxy.cut()
            assert isinstance(await asked(redis, "INCR", "cups"), RedisUnavailable)
            await eventually(lambda: redis.connected)
            assert await redis.ask("INCR", "cups") == 1001


async def test_a_certificate_that_nobody_vouches_for_is_unavailable(tls_server):
    port, _ = tls_server
    with pytest.raises(RedisUnavailable, match=r"(?i)certificate"):
        async with connected(f"rediss://127.0.0.1:{port}/0"):
            pass
