"""From an origin to a connection that can carry a request: DNS, TCP, a proxy's tunnel, TLS.

Rule: whatever breaks here is stage "connect" with a fault that says which step broke, and the socket is closed before
the exception leaves. No message repeats what a peer said beyond a status code.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable

from gateway.core.http import Fault, Origin, UpstreamFailed
from gateway.wire.connection import Connection
from gateway.wire.keepalive import keep_alive
from gateway.wire.proxies import ProxyServer

# An address that has not answered after this long is left for the next one: a dead IPv6 route costs a second, not the
# whole connect timeout. The last address gets all the time that is left.
_HEAD_START = 1.0
_TUNNEL_HEAD = 16 * 1024


def tls_context(cafile: str | None = None) -> ssl.SSLContext:
    """Verifying, TLS 1.2 up, HTTP/1.1. Without `cafile` the system's authorities (or SSL_CERT_FILE) are trusted."""
    context = ssl.create_default_context(cafile=cafile)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


async def dial(
    origin: Origin, proxy: ProxyServer | None, tls: ssl.SSLContext | None, protocol: Callable[[], Connection]
) -> Connection:
    loop = asyncio.get_running_loop()
    host, port = (proxy.host, proxy.port) if proxy is not None else (origin.host, origin.port)
    sock = await _tcp(loop, host, port)
    try:
        if proxy is not None and origin.scheme == "https":
            await _tunnel(loop, sock, origin, proxy)
        _, connection = await loop.create_connection(
            protocol, sock=sock, ssl=tls, server_hostname=origin.host if tls is not None else None
        )
    except BaseException as error:
        sock.close()
        if isinstance(error, ssl.SSLError):
            # `reason` is OpenSSL's word (CERTIFICATE_VERIFY_FAILED); str() would add names out of the certificate.
            raise _failed("tls", error.reason or type(error).__name__) from None
        if isinstance(error, OSError):
            fault: Fault = "tls" if tls is not None else "reset"
            raise _failed(fault, f"{type(error).__name__} after the connection was made") from None
        raise
    return connection


async def _tcp(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _failed("dns", f"{host}: {getattr(error, 'strerror', None) or type(error).__name__}") from None
    reasons = []
    for position, (family, kind, protocol, _, address) in enumerate(found):
        last = position == len(found) - 1
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(0.0)
            _tune(sock)
            async with asyncio.timeout(None if last else _HEAD_START):
                await loop.sock_connect(sock, address)
            return sock
        except OSError as error:  # TimeoutError is one: the head start's and the kernel's own
            sock.close()
            reasons.append(error.strerror or type(error).__name__)
        except BaseException:
            sock.close()
            raise
    raise _failed("refused", f"{host} port {port}: {', '.join(dict.fromkeys(reasons)) or 'no address'}")


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    keep_alive(sock)


async def _tunnel(loop: asyncio.AbstractEventLoop, sock: socket.socket, origin: Origin, proxy: ProxyServer) -> None:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    target = f"{host}:{origin.port}".encode("idna")
    lines = [b"CONNECT %b HTTP/1.1" % target, b"Host: " + target]
    if proxy.authorization is not None:
        lines.append(b"Proxy-Authorization: " + proxy.authorization)
    head = b""
    try:
        await loop.sock_sendall(sock, b"\r\n".join(lines) + b"\r\n\r\n")
        while b"\r\n\r\n" not in head:
            data = await loop.sock_recv(sock, 4096)
            if not data:
                raise _failed("proxy", "the proxy closed without an answer to CONNECT")
            head += data
            if len(head) > _TUNNEL_HEAD:
                raise _failed("proxy", f"the proxy's answer to CONNECT is longer than {_TUNNEL_HEAD} bytes")
    except OSError as error:
        raise _failed("proxy", f"{type(error).__name__} while asking the proxy for a tunnel") from None
    status = head[9:12]
    if not head.startswith(b"HTTP/1.") or not status.isdigit():
        raise _failed("proxy", "the proxy's answer to CONNECT is not HTTP/1")
    if not status.startswith(b"2"):
        raise _failed("proxy", f"the proxy answered CONNECT with {status.decode()}")
    if not head.endswith(b"\r\n\r\n"):
        raise _failed("proxy", "the proxy sent bytes before the tunnel was used")  # TLS begins with us


def _failed(fault: Fault, detail: str) -> UpstreamFailed:
    return UpstreamFailed("connect", fault, detail)
