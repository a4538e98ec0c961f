"""Where the store is: `GATEWAY_REDIS_URL` read into an address, and the way from it to the one server that counts.

All keys share one slot, so even on a cluster that is one server at a time:
  redis://[user:password@]host[:port][/db]             one server; rediss:// with TLS, unix:///path for a socket
  redis+sentinel://host:port,host:port/service[/db]    the master that the sentinels name; rediss+sentinel:// with TLS
  redis+cluster://host:port,host:port                  the master of our slot; rediss+cluster:// with TLS
`valkey` may stand for `redis`. Options: sentinel_username, sentinel_password, ca (PEM file), cert and key (PEM files of
our own), verify=false.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from gateway.store.batcher import Batcher, ReplyError
from gateway.store.ledger import StoreDown, StoreUnfit

Kind = Literal["one", "sentinel", "cluster"]
OPTIONS = {"sentinel_username", "sentinel_password", "ca", "cert", "key", "verify"}
CONNECT_SECONDS = 1.0
REDIRECTS = 5  # from seed to owner it takes one; more mean that the cluster doesn't agree with itself


@dataclass(frozen=True, slots=True)
class Address:
    """A store's address. The credentials never show in a repr, so no log has them."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    tls: bool = False
    db: int = 0
    service: str = ""
    path: str = ""  # of a unix socket
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    options: dict[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return self.path or ",".join(f"{host}:{port}" for host, port in self.hosts)


def read_url(url: str) -> Address:
    """Read a URL. Raises ValueError with what is wrong, never with the URL: it may hold a password."""
    parts = urlsplit(url)
    scheme = parts.scheme.replace("valkey", "redis")
    plain, _, kind = scheme.partition("+")
    options = dict(parse_qsl(parts.query))
    if unknown := set(options) - OPTIONS:
        raise ValueError(f"the store's URL has an unknown option: {', '.join(sorted(unknown))}")
    if scheme == "unix":
        return Address("one", (), path=parts.path, password=unquote(parts.password or ""), options=options)
    if plain not in {"redis", "rediss"} or kind not in {"", "sentinel", "cluster"}:
        raise ValueError(f"the store's URL has scheme '{parts.scheme}'; use redis, rediss, …+sentinel or …+cluster")
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    path = [unquote(piece) for piece in parts.path.split("/") if piece]
    service = path.pop(0) if kind == "sentinel" and path else ""
    if kind == "sentinel" and not service:
        raise ValueError("the store's URL names no service; write redis+sentinel://host:26379/SERVICE")
    database = path.pop(0) if path else "0"
    if path or not database.isdecimal() or (kind == "cluster" and database != "0"):
        raise ValueError("the store's URL has a path that is no database number, or a cluster with one")
    return Address(
        cast(Kind, kind or "one"),
        tuple(_host(host, 26379 if kind == "sentinel" else 6379) for host in hosts.split(",")),
        plain == "rediss",
        int(database),
        service,
        "",
        unquote(user),
        unquote(password),
        options,
    )


def _host(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("the store's URL names no host")
    return parts.hostname, parts.port or port


def tls_of(address: Address) -> ssl.SSLContext | None:
    """The TLS context that the address asks for."""
    if not address.tls:
        return None
    context = ssl.create_default_context(cafile=address.options.get("ca"))
    if address.options.get("verify") == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert := address.options.get("cert"):
        context.load_cert_chain(cert, address.options.get("key"))
    return context


class Dialler:
    """Finds the server that counts, connects, and says who we are."""

    def __init__(self, address: Address, timeout: float, probe: bytes) -> None:
        self._address = address
        self._timeout = timeout
        self._probe = probe  # any key of ours: a cluster answers with the slot's owner
        self._tls = tls_of(address)

    async def dial(self, lost: Callable[[str], None]) -> Batcher:
        """A connection, ready for commands. Raises StoreDown, or StoreUnfit when the credentials are refused."""
        match self._address.kind:
            case "one":
                return await self._first(self._address.hosts or (("", 0),), lost)
            case "sentinel":
                return await self._to_master(lost)
            case "cluster":
                return await self._to_owner(lost)

    async def _first(self, hosts: tuple[tuple[str, int], ...], lost: Callable[[str], None]) -> Batcher:
        fault: Exception = StoreDown("no address")
        for host in hosts:
            try:
                return await self._connect(host, lost)
            except StoreDown as down:
                fault = down
        raise fault

    async def _to_master(self, lost: Callable[[str], None]) -> Batcher:
        fault: Exception = StoreDown("no sentinel")
        options = self._address.options
        credentials = options.get("sentinel_username", ""), options.get("sentinel_password", "")
        for sentinel in self._address.hosts:
            try:
                asked = await self._connect(sentinel, _ignore, credentials=credentials, db=0)
                try:
                    found = await asked.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.service)
                finally:
                    asked.close()
                if not found:
                    raise StoreDown(f"the sentinels know no service '{self._address.service}'")
                master = await self._connect((found[0].decode(), int(found[1])), lost)
                role = (await master.call("ROLE"))[0]
                if role == b"master":
                    return master
                # A sentinel that has not heard of the failover yet.
                master.close()
                raise StoreDown(f"{found[0].decode()}:{int(found[1])} is {role.decode()}, not master")
            except (StoreDown, ReplyError) as down:
                fault = down
        raise StoreDown(str(fault))

    async def _to_owner(self, lost: Callable[[str], None]) -> Batcher:
        batcher = await self._first(self._address.hosts, lost)
        for _ in range(REDIRECTS):
            try:
                await batcher.call("EXISTS", self._probe)
            except ReplyError as error:
                batcher.close()
                if error.code != "MOVED":
                    raise StoreDown(str(error)) from error
                host, _, port = str(error).split()[2].rpartition(":")
                # An empty host means: the one you asked, on another port.
                batcher = await self._connect((host or self._address.hosts[0][0], int(port)), lost)
            else:
                return batcher
        batcher.close()
        raise StoreDown("the cluster sends us in circles")

    async def _connect(
        self,
        host: tuple[str, int],
        lost: Callable[[str], None],
        *,
        credentials: tuple[str, str] | None = None,
        db: int | None = None,
    ) -> Batcher:
        # Until it is handed out, nobody has use for the news that it was lost.
        loop = asyncio.get_running_loop()

        def made() -> Batcher:
            return Batcher(self._timeout)

        options: dict[str, Any] = {"ssl": self._tls, "server_hostname": host[0]} if self._tls else {}
        batcher: Batcher | None = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if self._address.path:
                    _, batcher = await loop.create_unix_connection(made, self._address.path)
                else:
                    _, batcher = await loop.create_connection(made, *host, **options)
                await self._introduce(batcher, credentials, self._address.db if db is None else db)
        except (OSError, TimeoutError) as fault:
            if batcher is not None:
                batcher.close()
            raise StoreDown(f"{host[0]}:{host[1]}: {str(fault) or 'no answer'}") from fault
        except BaseException:
            if batcher is not None:
                batcher.close()
            raise
        batcher.lost = lost
        return batcher

    async def _introduce(self, batcher: Batcher, credentials: tuple[str, str] | None, db: int) -> None:
        username, password = credentials or (self._address.username, self._address.password)
        try:
            if password:
                await batcher.call("AUTH", *((username, password) if username else (password,)), patient=True)
            if db:
                await batcher.call("SELECT", db, patient=True)
            await batcher.call("PING", patient=True)
        except ReplyError as error:
            if error.code in {"WRONGPASS", "NOAUTH", "NOPERM"}:
                raise StoreUnfit(f"the store refuses our credentials: {error.code}") from error
            raise StoreDown(str(error)) from error


def _ignore(reason: str) -> None:
    """Nobody to tell."""
