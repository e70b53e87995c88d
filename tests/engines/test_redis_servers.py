"""The launchers themselves: what other tests build on."""

from __future__ import annotations

import pytest

from tests.redis_servers import redis_cluster, redis_sentinels, redis_server, until


def test_a_killed_server_with_aof_comes_back_with_what_it_had(tmp_path):
    with redis_server(tmp_path, aof=True) as server:
        server.cli("SET", "tea", "green")
        run = server.info("run_id")
        server.kill()
        with pytest.raises(Exception, match="refused"):
            server.cli("PING")
        server.start()
        assert server.cli("GET", "tea") == "green"
        assert server.info("run_id") != run


def test_a_server_with_a_password_says_so_in_its_url(tmp_path):
    with redis_server(tmp_path, requirepass="oolong") as server:
        assert server.url == f"redis://:oolong@127.0.0.1:{server.port}/0"
        assert server.cli("PING") == "PONG"


def test_sentinels_name_another_primary_when_it_is_killed(tmp_path):
    with redis_sentinels(tmp_path) as group:
        first = group.primary
        first.kill()
        until(lambda: group.primary is not first, "the replica was promoted")
        until(lambda: group.primary.info("role") == "master", "it took over")


def test_a_cluster_serves_every_slot_and_moves_one(tmp_path):
    with redis_cluster(tmp_path) as cluster:
        slot = cluster.slot("tea")
        source = cluster.owner(slot)
        source.cli("SET", "tea", "green")
        target = next(server for server in cluster.primaries if server is not source)
        cluster.move(slot, target)
        assert cluster.owner(slot) is target
        assert target.cli("GET", "tea") == "green"


def test_a_cluster_promotes_the_replica_of_a_killed_primary(tmp_path):
    with redis_cluster(tmp_path, replicas=1) as cluster:
        cluster.primaries[0].kill()
        until(lambda: cluster.owner(0) is cluster.replicas[0], "the replica was promoted")
