"""Fixtures that every folder of tests may ask for; the rule for skips is in tests/skips.py.

A server is started when the first test asks for it, one per test process, and handed to each test awake and empty. A
test that changes a server's settings, or needs an append-only file, starts a `Server` of its own with `new_valkey`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import Cluster, SentinelGroup, Server
from tests.skips import pytest_make_collect_report, pytest_runtest_makereport

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]

# A slow or busy machine is no finding: what Hypothesis looks for is a counter-example.
settings.register_profile("gateway", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gateway")


@pytest.fixture(scope="session")
def valkey_of_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("valkey")).start()
    yield server
    server.kill()


@pytest.fixture
def valkey(valkey_of_session: Server) -> Server:
    """An empty Valkey server; pause, kill or restart it at will."""
    valkey_of_session.heal()
    valkey_of_session.empty()
    return valkey_of_session


@pytest.fixture
def new_valkey(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers of this test's own: `new_valkey(aof=True)`, `new_valkey(settings={"maxmemory": "2mb"})`."""
    servers: list[Server] = []

    def start(**options: Any) -> Server:
        servers.append(Server(tmp_path / f"valkey-{len(servers)}", **options))
        return servers[-1].start()

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def valkey_cluster_of_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster")).start()
    yield cluster
    cluster.kill()


@pytest.fixture
def valkey_cluster(valkey_cluster_of_session: Cluster) -> Cluster:
    """An empty cluster of three masters without replicas; for replicas start a `Cluster` of your own."""
    valkey_cluster_of_session.heal()
    valkey_cluster_of_session.empty()
    return valkey_cluster_of_session


@pytest.fixture(scope="session")
def valkey_sentinel_of_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    group = SentinelGroup(tmp_path_factory.mktemp("sentinel")).start()
    yield group
    group.kill()


@pytest.fixture
def valkey_sentinel(valkey_sentinel_of_session: SentinelGroup) -> SentinelGroup:
    """An empty master with a replica and three sentinels; which of the two is master changes with each failover."""
    valkey_sentinel_of_session.heal()
    valkey_sentinel_of_session.empty()
    return valkey_sentinel_of_session


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Says a figure after the run, whatever the verbosity and whichever process ran the test."""

    def say(figure: str) -> None:
        record_property("measured", figure)

    return say


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for group in terminalreporter.stats.values() for report in group]
    figures = {value for r in reports for name, value in getattr(r, "user_properties", ()) if name == "measured"}
    for figure in sorted(figures):
        terminalreporter.write_line(f"measured: {figure}")
