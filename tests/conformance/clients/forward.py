"""A forward proxy of the plainest kind: whatever host a request names, it goes to one address.

It exists because Claude Code gzips its bodies only when it believes to talk to Claude's own host.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Forward:
    """Its own address, and the content-encoding of each request that passed."""

    target: tuple[str, int]
    listener: socket.socket
    encodings: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.relay, args=(client,), daemon=True).start()

    def relay(self, client: socket.socket) -> None:
        """One request, one connection: the head loses the host of its target and asks for the connection's end."""
        with client, socket.create_connection(self.target) as upstream, contextlib.suppress(OSError):
            head, _, body = self.read_head(client)
            lines = head.split(b"\r\n")
            method, target, version = lines[0].split(b" ")
            lines[0] = b" ".join((method, b"/" + target.split(b"/", 3)[3], version))
            fields = {line.partition(b":")[0].lower(): line.partition(b":")[2].strip() for line in lines[1:]}
            self.encodings.append(fields.get(b"content-encoding", b"").decode())
            lines = [
                line for line in lines if line.partition(b":")[0].lower() not in (b"connection", b"proxy-connection")
            ]
            upstream.sendall(b"\r\n".join([*lines, b"connection: close", b"", b""]) + body)
            missing = int(fields.get(b"content-length", b"0")) - len(body)
            while missing > 0 and (chunk := client.recv(min(missing, 1 << 16))):
                upstream.sendall(chunk)
                missing -= len(chunk)
            while chunk := upstream.recv(1 << 16):
                client.sendall(chunk)

    @staticmethod
    def read_head(client: socket.socket) -> tuple[bytes, bytes, bytes]:
        received = b""
        while b"\r\n\r\n" not in received:
            chunk = client.recv(1 << 16)
            if not chunk:
                raise OSError("the client left before its head was whole")
            received += chunk
        return received.partition(b"\r\n\r\n")


@contextlib.contextmanager
def forwarding(base_url: str) -> Iterator[Forward]:
    host, _, port = base_url.partition("//")[2].partition(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Forward((host, int(port)), listener)
        threading.Thread(target=proxy.serve, daemon=True).start()
        yield proxy
