"""Which proxy, if any, stands between us and an origin: the usual environment variables as a value.

Rule: credentials of a proxy's URL live in `ProxyServer.authorization` alone, are kept out of every repr and message,
and leave only towards that proxy.
"""

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes, urlsplit

from gateway.core.http import Origin


@dataclass(frozen=True, slots=True)
class ProxyServer:
    host: str
    port: int
    authorization: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Proxies:
    """`bypass` is NO_PROXY's entries, lower case, without a leading dot or star."""

    https: ProxyServer | None = None
    http: ProxyServer | None = None
    bypass: tuple[str, ...] = ()

    def towards(self, origin: Origin) -> ProxyServer | None:
        server = self.https if origin.scheme == "https" else self.http
        if server is None or _loopback(origin.host) or any(_matches(entry, origin) for entry in self.bypass):
            return None
        return server


DIRECT = Proxies()


def proxies(environment: Mapping[str, str]) -> Proxies:
    """HTTPS_PROXY, HTTP_PROXY and NO_PROXY, in either case; the lower-case one wins, as in curl. Raises ValueError."""

    def value(name: str) -> str:
        return (environment.get(name.lower()) or environment.get(name) or "").strip()

    return Proxies(
        https=_server("HTTPS_PROXY", value("HTTPS_PROXY")),
        http=_server("HTTP_PROXY", value("HTTP_PROXY")),
        bypass=tuple(_entry(item) for item in re.split(r"[,\s]+", value("NO_PROXY")) if item),
    )


def _server(variable: str, url: str) -> ProxyServer | None:
    if not url:
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:  # its text may quote the URL, password and all
        raise ValueError(f"{variable} is not a URL of the form http://[user:password@]host:port") from None
    if parts.scheme != "http":
        raise ValueError(f"{variable} has the scheme {parts.scheme!r}; only http:// proxies are supported")
    if not host:
        raise ValueError(f"{variable} names no host; write http://[user:password@]host:port")
    authorization = None
    if parts.username is not None:
        pair = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
        authorization = b"Basic " + base64.b64encode(pair)
    return ProxyServer(host, port or 80, authorization)


def _entry(item: str) -> str:
    item = item.lower()
    return item if item == "*" else item.removeprefix("*").removeprefix(".")


def _matches(entry: str, origin: Origin) -> bool:
    """`*`, a domain with its subdomains, an address, a network as address/bits. Names and addresses may add :port."""
    if entry == "*":
        return True
    host = origin.host.lower().rstrip(".")
    if "/" in entry:
        try:
            return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, port = _split_port(entry)
    if port is not None and port != origin.port:
        return False
    return host == name or host.endswith("." + name)


def _split_port(entry: str) -> tuple[str, int | None]:
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, int(rest[1:]) if rest[1:].isdigit() else None
    name, colon, port = entry.rpartition(":")
    # More than one colon and no bracket: a bare IPv6 address, which has no port.
    if colon and ":" not in name and port.isdigit():
        return name, int(port)
    return entry, None


def _loopback(host: str) -> bool:
    """A proxy elsewhere cannot reach our own machine: the simulator must work with HTTP_PROXY set."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
