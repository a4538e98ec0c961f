"""In a corporate network: proxies, authorities of its own, patient sockets and a bounded pool, through the gateway."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from gateway.app import client_of
from gateway.core.http import Origin
from gateway.settings import Settings, SettingsFaults
from tests.proxy.conftest import Start
from tests.proxy.test_overload import Claude
from tests.proxy.test_retry import FINE, post
from tests.wire.scripted import Scripted, read_head, send, serve, start_tls

TUNNEL = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.fixture
def authority(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context for claude.test, and the file of the authority that signed it."""
    ca = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("claude.test").configure_cert(server)
    file = tmp_path / "corporate.pem"
    ca.cert_pem.write_to_path(str(file))
    return server, file


async def test_through_the_proxy_to_an_authority_of_its_own(
    start: Start, authority: tuple[ssl.SSLContext, Path]
) -> None:
    """`HTTPS_PROXY` and `SSL_CERT_FILE` suffice: the proxy is asked for a tunnel, the certificate is checked."""
    server, file = authority
    async with Scripted([read_head(), send(TUNNEL), start_tls(server), serve(FINE)]) as proxy:
        env = {"HTTPS_PROXY": f"http://me:secret@127.0.0.1:{proxy.port}", "SSL_CERT_FILE": str(file)}
        gateway = await start("https://claude.test", env=env)
        got = await post(gateway)

    connect, call = proxy.requests
    assert (200, b"CONNECT claude.test:443 HTTP/1.1") == (got.status, connect.line)
    assert [b"Basic bWU6c2VjcmV0"] == connect.values(b"proxy-authorization")
    assert [] == call.values(b"proxy-authorization")
    assert "secret" not in str(gateway.lines)


async def test_an_unknown_authority_is_refused(start: Start, authority: tuple[ssl.SSLContext, Path]) -> None:
    """Without `SSL_CERT_FILE` the corporate certificate is not trusted, once and without a repeat."""
    server, _ = authority
    async with Scripted([read_head(), send(TUNNEL), start_tls(server), serve(FINE)]) as proxy:
        gateway = await start("https://claude.test", env={"https_proxy": f"http://127.0.0.1:{proxy.port}"})
        got = await post(gateway)

    assert (502, 1) == (got.status, proxy.connections)
    assert "certificates" in got.error[2]


async def test_a_wrong_certificate_is_named_each_time(start: Start, authority: tuple[ssl.SSLContext, Path]) -> None:
    """A mistake of the platform team's opens no breaker: the twelfth request is told what the first one was."""
    server, _ = authority
    async with Scripted([serve(FINE)], tls=server) as upstream:
        gateway = await start(upstream.url)
        got = [await post(gateway) for _ in range(12)]

    assert {502} == {each.status for each in got}
    assert "certificates" in got[-1].error[2]


def test_no_proxy_is_obeyed() -> None:
    """A host of `NO_PROXY` is gone to directly."""
    env = {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "localtest, *.internal"}
    client = client_of(Settings(_env_file=None), env)

    assert client._proxies.towards(Origin("http", "claude.internal", 80)) is None
    assert client._proxies.towards(Origin("http", "claude.test", 80)) is not None


@pytest.mark.parametrize(
    ("env", "fault"),
    [
        ({"HTTPS_PROXY": "socks5://me:secret@proxy"}, "HTTPS_PROXY has the scheme 'socks5'"),
        ({"HTTP_PROXY": "http://"}, "HTTP_PROXY names no host"),
        ({"SSL_CERT_FILE": "/nowhere/ca.pem"}, "SSL_CERT_FILE: /nowhere/ca.pem can't be used: No such file"),
    ],
)
def test_what_can_not_be_gone_is_said(env: dict[str, str], fault: str) -> None:
    """A mistake in the way out ends the start with its name, and without the proxy's password."""
    with pytest.raises(SettingsFaults) as caught:
        client_of(Settings(_env_file=None), env)

    assert str(caught.value).startswith(fault)
    assert "secret" not in str(caught.value)


def test_a_file_without_certificates(tmp_path: Path) -> None:
    """An authority file that holds none is a fault at the start, not at the first request."""
    (tmp_path / "ca.pem").write_text("hello\n")

    with pytest.raises(SettingsFaults, match="SSL_CERT_FILE"):
        client_of(Settings(_env_file=None), {"SSL_CERT_FILE": str(tmp_path / "ca.pem")})


async def test_the_pool_is_bounded(start: Start) -> None:
    """With room for three connections, twenty requests at once are all served over three."""
    claude = Claude(FINE, seconds=0.01)
    async with Scripted(claude.script()) as upstream:
        gateway = await start(upstream.url, settings={"upstream_connections": 3})
        statuses = {got.status for got in await asyncio.gather(*(post(gateway) for _ in range(20)))}

    assert ({200}, 3, 3) == (statuses, upstream.connections, claude.most)


async def test_names_are_asked_again(start: Start) -> None:
    """A connection of a certain age is not used again, so a changed DNS record is followed."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url, settings={"upstream_connection_seconds": 0.2})
        await post(gateway)
        await post(gateway)
        young = upstream.connections
        await asyncio.sleep(0.25)
        await post(gateway)

    assert (1, 2) == (young, upstream.connections)


async def test_sockets_are_kept_alive(start: Start) -> None:
    """Both sides probe a silent connection each minute."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            await client.ask("GET", "/api/hello")
            await post(gateway)
            assert gateway.app.server._manager is not None
            (inner, *_) = [each.transport for each in gateway.app.server._manager.connections if each.transport]
            ((outer,),) = [way.pool._alive for way in gateway.app._client._ways.values()]
            assert outer._transport is not None
            options = [
                sock.getsockopt(level, option)
                for sock in (inner.get_extra_info("socket"), outer._transport.get_extra_info("socket"))
                for level, option in (
                    (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", socket.TCP_KEEPINTVL)),
                    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
                )
            ]

    assert [1, 60, 5] * 2 == options
