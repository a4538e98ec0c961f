"""Every way to reach a store: cluster, sentinels, TLS, sockets and passwords, and what a URL may say."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from gateway.core.limits import Granted, Settlement
from gateway.store.address import Address, read_url
from gateway.store.ledger import StoreDown
from tests.servers import SERVICE, SentinelGroup
from tests.store.conftest import bucket, budget, claim
from tests.until import until

WIDE, PURSE = bucket(per_minute=10**6), budget(1000)


async def calls(ledger, count: int) -> int:
    """Reserve and settle a nano-dollar each; how many were granted."""
    granted = 0
    for _ in range(count):
        one = claim((WIDE, 1), spends=((PURSE, 1),))
        try:
            granted += isinstance(await ledger.reserve(one), Granted)
        except StoreDown:
            await asyncio.sleep(0.02)
        ledger.settle(one.hold, Settlement(nano=1, produced=True))
    return granted


async def spent(ledger) -> int:
    await until(lambda: ledger.health.ok and ledger.health.unconfirmed == 0, seconds=20)
    return (await ledger.peek((), [PURSE])).standings[0].spent_nano


class TestCluster:
    async def test_three_nodes(self, redis_ledger, valkey_cluster):
        """Whichever node is asked first, the one that owns our slot serves, and every key is in that slot."""
        urls = [f"redis+cluster://127.0.0.1:{seed.port}" for seed in valkey_cluster.masters]
        ledgers = [await redis_ledger(url=url) for url in urls]

        assert [5, 5, 5] == [await calls(ledger, 5) for ledger in ledgers]
        assert [15, 15, 15] == [await spent(ledger) for ledger in ledgers[::-1]][::-1]
        homes = []
        for server in valkey_cluster.masters:
            with server.client() as client:
                homes += [server.port] * client.dbsize()

        assert {valkey_cluster.owner("{gw}:store").port} == set(homes)

    async def test_a_seed_that_is_gone(self, redis_ledger, valkey_cluster):
        """The next seed is asked."""
        seeds = ",".join(f"127.0.0.1:{port}" for port in (1, valkey_cluster.masters[0].port))
        ledger = await redis_ledger(url=f"redis+cluster://{seeds}")

        assert ledger.health.ok


@pytest.fixture(scope="module")
def one_sentinel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    """A group with one sentinel: it needs nobody's vote, and three that vote at once may take many seconds."""
    group = SentinelGroup(tmp_path_factory.mktemp("sentinel"), sentinels=1).start()
    yield group
    group.kill()


class TestSentinel:
    async def test_failover(self, redis_ledger, one_sentinel: SentinelGroup):
        """When the master dies its replica takes over, and settlements that it had not got are sent again."""
        host, port = one_sentinel.addresses[0]
        ledger = await redis_ledger(url=f"redis+sentinel://127.0.0.1:1,{host}:{port}/{SERVICE}")
        await calls(ledger, 20)
        assert 20 == await spent(ledger)
        one_sentinel.master().kill()
        await until(lambda: not ledger.health.ok)
        await calls(ledger, 20)

        assert 40 == await spent(ledger)
        assert 5 == await calls(ledger, 5)

    async def test_an_unknown_service(self, redis_ledger, one_sentinel: SentinelGroup):
        """The sentinels are there and the service is not: the fault says so, and the start goes on without a store."""
        host, port = one_sentinel.addresses[0]
        ledger = await redis_ledger(url=f"redis+sentinel://{host}:{port}/other")

        assert (False, "the sentinels know no service 'other'") == (ledger.health.ok, ledger.health.detail)


class TestWays:
    async def test_tls(self, redis_ledger, valkey, tmp_path: Path):
        """rediss:// checks the certificate against `ca`, and without one it trusts nobody it does not know."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", valkey.port)
            await asyncio.gather(_pour(reader, up_writer), _pour(up_reader, writer))

        server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        trusted = await redis_ledger(url=f"rediss://127.0.0.1:{port}/0?ca={tmp_path / 'ca.pem'}")
        stranger = await redis_ledger(tmp_path / "stranger", url=f"rediss://127.0.0.1:{port}/0")

        assert 3 == await calls(trusted, 3)
        assert not stranger.health.ok
        assert "certificate" in stranger.health.detail.lower()
        await trusted.stop()
        await stranger.stop()
        server.close()

    async def test_a_password_and_a_database(self, redis_ledger, new_valkey):
        """User, password and database of the URL are used."""
        server = new_valkey()
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "gateway", "on", ">se:c/ret", "~{gw}*", "&*", "+@all")
        ledger = await redis_ledger(url=f"redis://gateway:se%3Ac%2Fret@127.0.0.1:{server.port}/3")
        assert 3 == await calls(ledger, 3)
        with server.client(db=3) as client:
            assert client.exists("{gw}:store")

    async def test_a_socket(self, redis_ledger, new_valkey, tmp_path: Path):
        """unix:// reaches a server on the same machine."""
        path = tmp_path / "s"
        new_valkey(settings={"unixsocket": str(path)})
        ledger = await redis_ledger(url=f"unix://{path}")

        assert 3 == await calls(ledger, 3)

    async def test_installations_share_a_server(self, redis_ledger, valkey, tmp_path: Path):
        """Two namespaces on one server know nothing of each other."""
        one = await redis_ledger(tmp_path / "1", namespace="one")
        other = await redis_ledger(tmp_path / "2", namespace="other")
        await calls(one, 3)

        assert [3, 0] == [await spent(one), await spent(other)]


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://r", Address("one", (("r", 6379),))),
        ("valkeys://u:p%40@[::1]:7/2", Address("one", (("::1", 7),), True, 2, username="u", password="p@")),
        ("rediss://:p@r:1/0?ca=f", Address("one", (("r", 1),), True, password="p", options={"ca": "f"})),
        ("redis+sentinel://a,b:7/gw/1", Address("sentinel", (("a", 26379), ("b", 7)), db=1, service="gw")),
        ("rediss+cluster://a:1,b", Address("cluster", (("a", 1), ("b", 6379)), True)),
        ("unix:///run/redis.sock", Address("one", (), path="/run/redis.sock")),
    ],
)  # fmt: skip
def test_urls(url: str, address: Address):
    """Each form of URL is read into an address."""
    assert address == read_url(url)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://r", "scheme 'http'"),
        ("redis+ring://r", "scheme 'redis\\+ring'"),
        ("redis://", "names no host"),
        ("redis://:secret@r/x", "no database number"),
        ("redis+cluster://r/1", "a cluster with one"),
        ("redis+sentinel://r", "names no service"),
        ("redis://r?timeout=5", "unknown option: timeout"),
    ],
)
def test_wrong_urls(url: str, fault: str):
    """What is wrong is said, and never the URL itself: it may hold a password."""
    with pytest.raises(ValueError, match=fault) as raised:
        read_url(url)

    assert "secret" not in str(raised.value)


def test_credentials_never_show():
    """An address in a traceback or a log line has no password."""
    address = read_url("redis+sentinel://user:hidden@a:1/gw?sentinel_password=veiled")

    assert not any(secret in repr(address) + str(address) for secret in ("hidden", "veiled"))
