"""TLS to the upstream: who is trusted, what is offered, and how its endings differ from TCP's."""

import asyncio
import os
import socket
import ssl

import pytest
import trustme

from gateway.core.http import Origin, Timeouts, UpstreamFailed
from gateway.wire.dial import tls_context
from tests.wire.client.asking import SOON, Make, Start, Tls, failure, get, how, read_until_failure, whole
from tests.wire.scripted import Wire, answer, close, read_eof, read_request, reset, send, serve, stall, until

_OK = answer(b"ok")


async def test_a_trusted_upstream(make_client: Make, scripted: Start, tls: Tls) -> None:
    """Requests pass, connections are reused, HTTP/1.1 is what we offer and SNI names the host."""
    names = []

    def note(ssl_socket: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        names.append(name)

    tls.server.sni_callback = note
    upstream = await scripted([serve(_OK)], tls=tls.server)
    client = make_client(tls=tls.client)
    origin = Origin("https", "localhost", upstream.port)
    first = await failure(client.open(get(origin), SOON))  # the certificate is for 127.0.0.1 and claude.test
    reused = []
    for _ in range(2):
        got = await client.open(get(upstream.origin), SOON)
        reused.append(got.reused)
        assert b"ok" == await whole(got)
    chosen = upstream.wires[-1].writer.get_extra_info("ssl_object").selected_alpn_protocol()
    tls.server.sni_callback = None

    assert ("connect", "tls", "CERTIFICATE_VERIFY_FAILED") == (first.stage, first.fault, first.detail)
    assert (["localhost", None], "http/1.1", [False, True]) == (names, chosen, reused)


async def test_an_unknown_authority(make_client: Make, scripted: Start, tls: Tls) -> None:
    """A certificate nobody vouches for is fault "tls", with OpenSSL's word for it, and the place is free again."""
    upstream = await scripted([serve(_OK)], tls=tls.server)
    client = make_client(tls=tls_context(), connections=1)
    for _ in range(2):
        failed = await failure(client.open(get(upstream.origin), SOON))
        assert ("connect", "tls", False, False) == how(failed)
        assert "CERTIFICATE_VERIFY_FAILED" == failed.detail


async def test_authorities_from_a_file(
    make_client: Make, scripted: Start, tls: Tls, authority: trustme.CA, tmp_path: object
) -> None:
    """A company's own authority comes from a file (SSL_CERT_FILE) and then is the only one trusted."""
    with authority.cert_pem.tempfile() as path:
        upstream = await scripted([serve(_OK)], tls=tls.server)
        got = await make_client(tls=tls_context(path)).open(get(upstream.origin), SOON)

        assert b"ok" == await whole(got)


@pytest.mark.parametrize(
    "script",
    [[send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), close()], [close()], [reset()]],
    ids=["plain http", "close", "reset"],
)
async def test_a_peer_that_speaks_no_tls(make_client: Make, scripted: Start, tls: Tls, script: list[object]) -> None:
    """Whatever ends the handshake is fault "tls"."""
    upstream = await scripted(script)
    origin = Origin("https", "127.0.0.1", upstream.port)

    assert ("connect", "tls", False, False) == how(await failure(make_client(tls=tls.client).open(get(origin), SOON)))


async def test_a_handshake_that_never_ends(make_client: Make, scripted: Start, tls: Tls) -> None:
    """A peer that takes the connection and says nothing is a timeout of stage "connect"; its socket is closed."""
    upstream = await scripted([read_eof()])
    client = make_client(tls=tls.client, connections=1)
    origin = Origin("https", "127.0.0.1", upstream.port)
    for _ in range(2):
        failed = await failure(client.open(get(origin), Timeouts(connect=0.1)))
        assert ("connect", "timeout", False, False) == how(failed)
    task = asyncio.ensure_future(client.open(get(origin), SOON))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await upstream.settled()


async def test_tcp_ends_before_tls_does(make_client: Make, scripted: Start, tls: Tls) -> None:
    """Without TLS's own goodbye an open-ended body is cut, not finished: anyone could have cut it."""

    async def hang_up(wire: Wire) -> None:
        raw = wire.writer.get_extra_info("socket")
        with socket.socket(fileno=os.dup(raw.fileno())) as below:
            below.shutdown(socket.SHUT_WR)

    upstream = await scripted([read_request(), send(b"HTTP/1.1 200 OK\r\n\r\nabc"), hang_up, stall()], tls=tls.server)
    got = await make_client(tls=tls.client).open(get(upstream.origin), SOON)

    came, failed = await read_until_failure(got)

    assert (b"abc", "body", "reset") == (came, failed.stage, failed.fault)


async def test_tls_says_goodbye(make_client: Make, scripted: Start, tls: Tls) -> None:
    """With TLS's own goodbye an open-ended body is whole."""
    upstream = await scripted([read_request(), send(b"HTTP/1.1 200 OK\r\n\r\nabc"), close()], tls=tls.server)

    assert b"abc" == await whole(await make_client(tls=tls.client).open(get(upstream.origin), SOON))


@pytest.mark.parametrize("end", [close(), reset()], ids=["close", "reset"])
async def test_an_idle_connection_that_ends(make_client: Make, scripted: Start, tls: Tls, end: object) -> None:
    """Under TLS too, an idle connection that ends leaves the pool before anyone could use it."""
    go = asyncio.Event()
    upstream = await scripted([read_request(), send(_OK), until(go), end], [serve(_OK)], tls=tls.server)
    client = make_client(tls=tls.client)
    await whole(await client.open(get(upstream.origin), SOON))
    go.set()
    await upstream.settled()
    got = await client.open(get(upstream.origin), SOON)

    assert (b"ok", False) == (await whole(got), got.reused)


async def test_a_reset_before_the_answer(make_client: Make, scripted: Start, tls: Tls) -> None:
    """A reset inside TLS reads like one of TCP."""
    upstream = await scripted([read_request(), reset()], tls=tls.server)

    with pytest.raises(UpstreamFailed) as caught:
        await make_client(tls=tls.client).open(get(upstream.origin), SOON)
    assert ("head", "reset", False, False) == how(caught.value)
