"""Asks for `/api/hello` over and over on one connection; for each line on stdin prints count, median and worst since.

The gateway's loop as a neighbour sees it, from a process of its own.

Run by first_figures.py: python -m tests.bench.probe PORT
"""

import select
import socket
import statistics
import sys
import time

HELLO = b"GET /api/hello HTTP/1.1\r\nHost: probe\r\n\r\n"


def main(port: int) -> None:
    times: list[float] = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            if select.select([sys.stdin], [], [], 0.001)[0]:
                if not sys.stdin.readline():
                    return
                print(len(times), statistics.median(times or [0]), max(times, default=0), flush=True)
                times.clear()
            began = time.perf_counter()
            connection.sendall(HELLO)
            answer = b""
            while not answer.endswith(b"{}"):
                part = connection.recv(4096)
                if not part:
                    return  # the gateway has gone
                answer += part
            times.append(time.perf_counter() - began)


if __name__ == "__main__":
    main(int(sys.argv[1]))
