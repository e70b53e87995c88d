"""deploy/compose.yaml: no Docker is needed to see that its parts fit each other, the settings and nginx.conf."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml  # comes with schemathesis

from teahouse.settings import Settings, wechat_mode
from teahouse.settings_sources import load
from tests.journeys.balancer import DEPLOY
from tests.journeys.servers import until

TEXT = (DEPLOY / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
NODES = ("node1", "node2")
# What stands for a variable: ${NAME:?why} or ${NAME:-default}.
_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(:[?-])([^}]*)\}")
FILLED = {
    "TEAHOUSE_SECRET_KEY": "5e" * 32,
    "REDIS_PASSWORD": "ab" * 24,
    "DATABASE_PASSWORD": "cd" * 24,
    "TEAHOUSE_WECHAT__APPID": "wx0123456789abcdef",
    "TEAHOUSE_WECHAT__SECRET": "from the platform",
}


def filled(text: str) -> str:
    """As Compose reads it, with every variable that must be set."""
    return _VARIABLE.sub(lambda found: FILLED.get(found[1]) or found[3], text).replace("$$", "$")


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text[:-1])


def node_settings(name: str) -> Settings:
    environment = {key: filled(str(value)) for key, value in SERVICES[name]["environment"].items()}
    return load(environ=environment)


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", NODES)
def test_the_settings_of_a_node_are_taken(name: str):
    settings = node_settings(name)
    assert settings.workers == 2
    assert settings.redis.url.reveal() == f"redis://:{FILLED['REDIS_PASSWORD']}@redis:6379/0"
    assert wechat_mode(settings) == "platform"


def test_the_nodes_have_the_same_settings_and_data_of_their_own():
    first, second = (SERVICES[name] for name in NODES)
    assert first["environment"] == second["environment"]
    assert first["volumes"] != second["volumes"]


def test_no_secret_has_a_default():
    for name, how, _ in _VARIABLE.findall(TEXT):
        assert how == ":?" or not re.search("SECRET|PASSWORD|KEY", name), name
    for service in SERVICES.values():
        for name, value in (service.get("environment") or {}).items():
            if re.search("SECRET|PASSWORD|KEY|URL", name) and name != "MARIADB_RANDOM_ROOT_PASSWORD":
                assert ":?" in value, name


def test_the_example_of_an_environment_names_what_must_be_set_and_holds_nothing():
    lines = [line for line in (DEPLOY / "example.env").read_text().splitlines() if line and not line.startswith("#")]
    assert all(line.endswith("=") for line in lines)
    assert {line[:-1] for line in lines} == {name for name, _, _ in _VARIABLE.findall(TEXT)}
    assert {name for name, how, _ in _VARIABLE.findall(TEXT) if how == ":?"} == set(FILLED)


def test_everything_that_is_named_is_there():
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).is_file(), volume
    build = SERVICES["node1"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"


def test_every_service_is_checked_and_has_time_to_stop():
    for name, service in SERVICES.items():
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
        assert seconds(service["stop_grace_period"]) >= 60, name
        assert service["restart"] == "unless-stopped", name
    for name in NODES:
        assert "/readyz" in str(SERVICES[name]["healthcheck"]["test"])
        settings = node_settings(name)
        needed = settings.drain_seconds + 3 * settings.shutdown_seconds
        assert seconds(SERVICES[name]["stop_grace_period"]) > needed


def test_nginx_gives_up_idle_connections_before_a_node_that_stops_does():
    upstreams = (DEPLOY / "upstreams.conf").read_text()
    found = re.search(r"^\s+keepalive_timeout (\d+)s;", upstreams, re.MULTILINE)
    assert found is not None
    for name in NODES:
        assert float(found[1]) < node_settings(name).drain_seconds < node_settings(name).http.idle_seconds


def test_nginx_finds_the_nodes_and_the_nodes_believe_nginx_alone():
    network = ipaddress.ip_network(COMPOSE["networks"]["inside"]["ipam"]["config"][0]["subnet"])
    address = {name: SERVICES[name]["networks"]["inside"]["ipv4_address"] for name in (*NODES, "nginx")}
    assert all(ipaddress.ip_address(each) in network for each in address.values())
    servers = re.findall(r"^\s+server (\S+) max_fails=0;", (DEPLOY / "upstreams.conf").read_text(), re.MULTILINE)
    for port in ("port", "realtime_port"):
        assert {f"{address[name]}:{getattr(node_settings(name), port)}" for name in NODES} <= set(servers)
    assert len(servers) == 4
    for name in NODES:
        assert node_settings(name).trusted_proxies == (f"{address['nginx']}/32",)


def test_redis_starts_as_it_is_told_and_every_command_is_on_disk_first(tmp_path: Path):
    if shutil.which("redis-server") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("redis-server is not installed")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    shell, option, script = SERVICES["redis"]["command"]
    assert (shell, option) == ("sh", "-c")
    script = filled(script).replace("port 6379", f"port {port}\nbind 127.0.0.1").replace("dir /data", f"dir {tmp_path}")
    environment = {"PATH": os.environ["PATH"], "REDIS_PASSWORD": FILLED["REDIS_PASSWORD"]}
    process = subprocess.Popen(["sh", "-c", script], env=environment, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port, password=FILLED["REDIS_PASSWORD"], decode_responses=True) as client:
            until(lambda: _answers(client), "Redis answers", 10)
            told = client.config_get("append*") | client.config_get("maxmemory-policy") | client.config_get("save")
            assert (told["appendonly"], told["appendfsync"]) == ("yes", "always")
            assert (told["maxmemory-policy"], told["save"]) == ("noeviction", "")
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    finally:
        # sh has become redis-server: the signal of `docker stop` reaches it.
        process.terminate()
        assert process.wait(10) == 0


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_mariadb_knows_its_options():
    server = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
    if server is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("mariadbd is not installed")
    done = subprocess.run(
        [server, "--no-defaults", *SERVICES["database"]["command"], "--verbose", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "unknown" not in done.stderr
    assert re.search(r"^innodb-flush-log-at-trx-commit\s+1$", done.stdout, re.MULTILINE)
