"""The servers that other tests stand on do what they say."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.servers import ONCE, SERVICE, Cluster, SentinelGroup, Server, until

ADD_BOTH = "redis.call('incrby', KEYS[1], ARGV[1]); return redis.call('incrby', KEYS[2], ARGV[1])"


class TestServer:
    def test_keeps_what_it_is_given(self, valkey: Server):
        """A test's server answers, from a process of ours."""
        with valkey.client() as client:
            client.set("key", "value")

            assert b"value" == client.get("key")
            assert valkey.pid == client.info("server")["process_id"]

    @pytest.mark.parametrize("turn", [1, 2])
    def test_each_test_begins_with_an_empty_server(self, valkey: Server, turn: int):
        """Neither keys nor scripts of an earlier test remain."""
        with valkey.client() as client:
            assert 0 == client.dbsize()
            sha = client.script_load("return 1")
            client.set("left", turn)
            valkey.empty()

            assert [False] == client.script_exists(sha)
            assert 0 == client.dbsize()
            client.set("left", turn)

    def test_paused_is_silent_and_resumed_is_as_before(self, valkey: Server):
        """A frozen server takes connections and answers nothing; afterwards it has forgotten nothing."""
        with valkey.client() as client:
            client.set("key", "value")
        valkey.pause()
        with (
            valkey.client(socket_timeout=0.05) as client,
            pytest.raises(redis.TimeoutError),
        ):
            client.get("key")
        valkey.resume()
        with valkey.client() as client:
            assert b"value" == client.get("key")

    def test_killed_refuses_and_comes_back_empty_on_its_port(self, valkey: Server):
        """Without an append-only file a crash loses everything, and the address stays."""
        with valkey.client() as client:
            client.set("key", "value")
        port, pid = valkey.port, valkey.pid
        valkey.kill()
        with valkey.client() as client, pytest.raises(redis.ConnectionError):
            client.ping()
        valkey.start()
        with valkey.client() as client:
            assert None is client.get("key")
        assert port == valkey.port
        assert pid != valkey.pid

    def test_a_frozen_or_dead_server_is_healed(self, valkey: Server):
        """Whatever one test did, the next one finds the server awake."""
        for harm in (valkey.pause, valkey.kill, valkey.stop):
            harm()
            valkey.heal()
            with valkey.client() as client:
                assert client.ping()

    def test_an_append_only_file_outlives_a_kill(self, new_valkey: Callable[..., Server]):
        """With `aof=True` what was written before a crash is there after it."""
        server = new_valkey(aof=True, settings={"appendfsync": "always"})
        with server.client() as client:
            client.set("key", "value")
        server.restart()
        with server.client() as client:
            assert b"value" == client.get("key")

    def test_settings_reach_the_server(self, new_valkey: Callable[..., Server]):
        """`settings` are lines of the configuration file."""
        with new_valkey(settings={"maxmemory-policy": "allkeys-lru"}).client() as client:
            assert {"maxmemory-policy": "allkeys-lru"} == client.config_get("maxmemory-policy")

    def test_a_taken_port_is_not_mistaken_for_a_server_of_ours(self, valkey: Server, tmp_path: Path):
        """A server that must have a port on which another listens fails, although something answers there."""
        late = Server(tmp_path / "late", port=valkey.port)
        late._configure()
        with pytest.raises(OSError, match="no free port"):
            late.start()
        assert not late.running

    def test_a_server_that_cannot_start_says_why(self, tmp_path: Path):
        """The server's own words stand in the error."""
        with pytest.raises(RuntimeError, match="no-such-setting"):
            Server(tmp_path, settings={"no-such-setting": "1"}).start()

    def test_servers_end_with_a_test_process_that_is_killed(self, tmp_path: Path):
        """Even SIGKILL of the tests leaves no server behind."""
        program = f"""
import sys, time
from pathlib import Path
from tests.servers import Server
server = Server(Path({str(tmp_path)!r})).start()
print(server.port, flush=True)
time.sleep(60)
"""
        tests = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
        assert tests.stdout is not None
        with tests.stdout as out:
            port = int(out.readline())
        with redis.Redis(port=port, retry=ONCE) as client:
            assert client.ping()
            tests.kill()
            tests.wait()

            def gone() -> bool:
                try:
                    return not client.ping()
                except redis.ConnectionError:
                    return True

            assert until(gone, "the server has ended")


class TestCluster:
    def test_scripts_run_where_one_hash_tag_points(self, valkey_cluster: Cluster):
        """EVALSHA over two keys of one hash tag works; over two slots the client refuses before it sends."""
        with valkey_cluster.client() as client:
            sha = client.script_load(ADD_BOTH)

            assert 2 == client.evalsha(sha, 2, "{gw}a", "{gw}b", 2)
            assert [b"2", b"2"] == client.mget_nonatomic("{gw}a", "{gw}b")
            with pytest.raises(redis.RedisClusterException):
                client.evalsha(sha, 2, "a", "b", 2)

    @pytest.mark.parametrize("turn", [1, 2])
    def test_each_test_begins_with_an_empty_cluster(self, valkey_cluster: Cluster, turn: int):
        """Keys and scripts are gone from all masters."""
        with valkey_cluster.client() as client:
            assert 0 == client.dbsize()
            for n in range(20):
                client.set(f"left-{n}", turn)
            assert all(server.client().dbsize() for server in valkey_cluster.masters)

    def test_slots_are_spread(self, valkey_cluster: Cluster):
        """Different keys live on different servers, and `owner` knows which."""
        owners = {valkey_cluster.owner(f"key-{n}").port for n in range(50)}

        assert {server.port for server in valkey_cluster.masters} == owners

    def test_a_replica_takes_over_from_a_killed_master(self, tmp_path: Path):
        """With replicas, a cluster goes on after one master died."""
        cluster = Cluster(tmp_path, replicas=1).start()
        try:
            with cluster.client() as client:
                client.set("{gw}key", "value")
                client.wait(1, 2000, target_nodes=client.get_node_from_key("{gw}key"))
            cluster.owner("{gw}key").kill()

            def value() -> bytes | None:
                with cluster.client() as client:
                    return client.get("{gw}key")

            assert b"value" == until(value, "the replica has taken over")
        finally:
            cluster.kill()


def in_turn(group: SentinelGroup) -> redis.Sentinel:
    """The driver's sentinel client; like ours it fails when the server does."""
    return redis.Sentinel(group.addresses, sentinel_kwargs={"socket_timeout": 1, "retry": ONCE}, retry=ONCE)


class TestSentinelGroup:
    @pytest.mark.timeout(240)  # three sentinels that vote at the same moment start over, after seconds each time
    def test_fails_over_and_back(self, valkey_sentinel: SentinelGroup):
        """Clients that ask the sentinels find the replica of a killed master, with its data; healed, it works again."""
        sentinel = in_turn(valkey_sentinel)
        for turn in ("there", "back"):
            before, after = valkey_sentinel.master(), valkey_sentinel.replica()
            with sentinel.master_for(SERVICE) as client:
                client.set("turn", turn)
                assert 1 == client.wait(1, 2000)
            before.kill()

            def value() -> bytes | None:
                with sentinel.master_for(SERVICE) as client:
                    return client.get("turn")

            assert turn.encode() == until(value, "a new master serves", seconds=60)
            valkey_sentinel.heal()
            assert after is valkey_sentinel.master()
        for asked in sentinel.sentinels:
            asked.close()

    def test_a_minority_of_sentinels_may_be_gone(self, valkey_sentinel: SentinelGroup):
        """A client that is refused by one sentinel asks the next."""
        valkey_sentinel.sentinels[0].kill()
        sentinel = in_turn(valkey_sentinel)

        with sentinel.master_for(SERVICE) as client:
            assert client.ping()
        for asked in sentinel.sentinels:
            asked.close()
