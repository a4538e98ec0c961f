"""Corporate proxies on the wire: CONNECT for https, the absolute form for http, and what goes wrong with both."""

import asyncio

import pytest

from gateway.core.http import Origin, Timeouts
from gateway.wire.proxies import Proxies, ProxyServer
from tests.wire.client.asking import SOON, Make, Start, Tls, failure, get, how, whole
from tests.wire.scripted import (
    Scripted,
    answer,
    close,
    read_eof,
    read_head,
    read_request,
    reset,
    send,
    serve,
    stall,
    start_tls,
)

_ORIGIN = Origin("https", "claude.test", 443)  # resolved by nobody but the proxy
_PLAIN = Origin("http", "claude.test", 8080)
_SECRET = b"Basic bWU6c2VjcmV0"
_OK = answer(b"ok")


def through(proxy: Scripted) -> Proxies:
    server = ProxyServer("127.0.0.1", proxy.port, _SECRET)
    return Proxies(https=server, http=server, bypass=("direct.test",))


async def test_https_goes_through_a_tunnel(make_client: Make, scripted: Start, tls: Tls) -> None:
    """CONNECT names host and port and carries the proxy's credentials; inside, the upstream's certificate is checked
    against its own name, requests know nothing of the proxy, and the tunnel is reused."""
    tunnel = b"HTTP/1.1 200 Connection established\r\nVia: proxy\r\n\r\n"
    proxy = await scripted([read_head(), send(tunnel), start_tls(tls.server), serve(_OK)])
    client = make_client(tls=tls.client, proxies=through(proxy))
    reused = []
    for _ in range(2):
        got = await client.open(get(_ORIGIN, b"/v1"), SOON)
        reused.append(got.reused)
        assert b"ok" == await whole(got)

    assert [
        b"CONNECT claude.test:443 HTTP/1.1\r\nHost: claude.test:443\r\nProxy-Authorization: " + _SECRET + b"\r\n\r\n",
        b"GET /v1 HTTP/1.1\r\nHost: claude.test\r\n\r\n",
        b"GET /v1 HTTP/1.1\r\nHost: claude.test\r\n\r\n",
    ] == [received.head for received in proxy.requests]
    assert ([False, True], 1) == (reused, proxy.connections)


async def test_the_certificate_behind_a_tunnel_is_checked(make_client: Make, scripted: Start, tls: Tls) -> None:
    """A proxy that answers for someone else is found out."""
    proxy = await scripted([read_head(), send(b"HTTP/1.1 200 OK\r\n\r\n"), start_tls(tls.server), serve(_OK)])
    client = make_client(tls=tls.client, proxies=through(proxy))

    failed = await failure(client.open(get(Origin("https", "other.test", 443)), SOON))

    assert ("connect", "tls", "CERTIFICATE_VERIFY_FAILED") == (failed.stage, failed.fault, failed.detail)


_REFUSALS = {
    "denied": ([send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nsecret-page")], "403"),
    "wants credentials": ([send(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")], "407"),
    "cannot reach": ([send(b"HTTP/1.0 502 Bad Gateway\r\n\r\n")], "502"),
    "interim": ([send(b"HTTP/1.1 100 Continue\r\n\r\n")], "100"),
    "not HTTP": ([send(b"SOCKS says no, secret-page\r\n\r\n")], "not HTTP/1"),
    "endless": ([send(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 9000)], "longer"),
    "talks too soon": ([send(b"HTTP/1.1 200 OK\r\n\r\nsecret-page")], "before the tunnel"),
    "closes": ([close()], "closed"),
    "closes half-way": ([send(b"HTTP/1.1 200"), close()], "closed"),
    "resets": ([reset()], "ConnectionResetError"),
}


@pytest.mark.parametrize("case", _REFUSALS)
async def test_a_proxy_that_gives_no_tunnel(make_client: Make, scripted: Start, tls: Tls, case: str) -> None:
    """Anything but a clean 2xx is fault "proxy": the detail has the status and neither page nor credentials; the
    place is free again and the socket closed."""
    steps, said = _REFUSALS[case]
    proxy = await scripted([read_head(), *steps])
    client = make_client(tls=tls.client, proxies=through(proxy), connections=1)
    for _ in range(2):
        failed = await failure(client.open(get(_ORIGIN), SOON))
        assert ("connect", "proxy", False, False) == how(failed)
        assert said in failed.detail
        assert [] == [word for word in ("secret", "bWU6") if word in f"{failed!r} {failed.detail}"]
    await proxy.settled()


async def test_a_silent_proxy(make_client: Make, scripted: Start, tls: Tls) -> None:
    """A proxy that does not answer CONNECT is a timeout; cancelling meanwhile leaves nothing behind either."""
    proxy = await scripted([read_head(), read_eof()])
    client = make_client(tls=tls.client, proxies=through(proxy), connections=1)

    failed = await failure(client.open(get(_ORIGIN), Timeouts(connect=0.05)))
    task = asyncio.ensure_future(client.open(get(_ORIGIN), SOON))
    await proxy.asked(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await proxy.settled()

    assert ("connect", "timeout", False, False) == how(failed)


async def test_nobody_is_the_proxy(make_client: Make, scripted: Start, tls: Tls) -> None:
    """A proxy that cannot be reached is a failed connect, and named."""
    proxy = await scripted([stall()])
    proxies = through(proxy)
    await proxy.__aexit__()

    failed = await failure(make_client(tls=tls.client, proxies=proxies).open(get(_ORIGIN), SOON))

    assert ("connect", "refused") == (failed.stage, failed.fault)
    assert f"127.0.0.1 port {proxy.port}" in failed.detail


async def test_http_goes_in_absolute_form(make_client: Make, scripted: Start) -> None:
    """Plain http: the proxy reads the request, so it gets the whole address and its credentials."""
    proxy = await scripted([serve(_OK)])
    got = await make_client(proxies=through(proxy)).open(get(_PLAIN, b"/v1?a=b"), SOON)

    assert b"ok" == await whole(got)
    assert (
        b"GET http://claude.test:8080/v1?a=b HTTP/1.1\r\nHost: claude.test:8080\r\nProxy-Authorization: "
        + _SECRET
        + b"\r\n\r\n"
    ) == proxy.requests[0].head


async def test_a_407_is_the_proxys_not_the_upstreams(make_client: Make, scripted: Start) -> None:
    """A proxy that wants other credentials is our failure; a team must not be asked for them."""
    proxy = await scripted([read_request(), send(answer(b"who?", b"407 Proxy Authentication Required"))])

    failed = await failure(make_client(proxies=through(proxy)).open(get(_PLAIN), SOON))

    assert ("head", "proxy", False, True) == how(failed)


async def test_bypassed_and_local_hosts_go_direct(make_client: Make, scripted: Start) -> None:
    """NO_PROXY and our own machine are reached without the proxy, and are not told its credentials."""
    proxy, upstream = await scripted([close()]), await scripted([serve(_OK)])
    got = await make_client(proxies=through(proxy)).open(get(upstream.origin), SOON)

    assert (b"ok", 0) == (await whole(got), proxy.connections)
    assert [] == upstream.requests[0].values(b"proxy-authorization")
