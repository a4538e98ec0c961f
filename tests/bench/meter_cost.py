"""Prints what metering costs, in microseconds: per event, per feed of one event, per answer. Not collected as a test.

Run: python tests/bench/meter_cost.py
"""

import time
from collections.abc import Callable

from gateway.core.answers import from_message
from gateway.core.meter import ChatMeter, Meter, StreamMeter

START = b"""event: message_start
data: {"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant","model":"claude-opus-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":2095,"cache_creation_input_tokens":0,"cache_read_input_tokens":18000,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":3,"service_tier":"standard"}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type": "ping"}

"""  # noqa: E501  # an event is one line, as on the wire
DELTA = b"""event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" and then the other one"}}

"""
END = b"""event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":2095,"cache_creation_input_tokens":0,"cache_read_input_tokens":18000,"output_tokens":1510}}

event: message_stop
data: {"type":"message_stop"}

"""  # noqa: E501
CHAT = b"""data: {"id":"msg_01","object":"chat.completion.chunk","created":1766000000,"model":"claude-opus-5","choices":[{"index":0,"delta":{"content":" and then the other one"},"finish_reason":null}]}

"""  # noqa: E501
DELTAS = 2_000


def best(work: Callable[[], object], *, rounds: int = 30) -> float:
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times) * 1e6


def metered(new: Callable[[], Meter], chunks: list[bytes]) -> Callable[[], object]:
    def work() -> object:
        meter = new()
        for chunk in chunks:
            meter.feed(chunk)
        return meter.finish(ended="ok")

    return work


def sliced(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


def main() -> None:
    body = START + DELTA * DELTAS + END
    whole = metered(StreamMeter, [START, *[DELTA] * DELTAS, END])
    rows = [
        ("one event per feed", best(whole) / DELTAS),
        ("16 KiB per feed", best(metered(StreamMeter, sliced(body, 16_384))) / DELTAS),
        ("events split in two feeds", best(metered(StreamMeter, sliced(body, len(DELTA) // 2 + 1))) / DELTAS),
        (
            "CRLF, one event per feed",
            best(metered(StreamMeter, [e.replace(b"\n", b"\r\n") for e in [START, *[DELTA] * DELTAS, END]])) / DELTAS,
        ),
        ("chat/completions, one event per feed", best(metered(ChatMeter, [CHAT] * DELTAS)) / DELTAS),
    ]
    for name, cost in rows:
        print(f"{name:40} {cost:6.2f} us per event")
    print(f"{'start, end and the sum of one stream':40} {best(metered(StreamMeter, [START, END])):6.2f} us per stream")
    large = b"event: content_block_delta\ndata: " + DELTA[33:-3].replace(b"other", b"x" * 5_000_000) + b"}\n\n"
    chunks = [START, *sliced(large, 65_536), END]
    print(f"{'one 5 MB event in 64 KiB feeds':40} {best(metered(StreamMeter, chunks), rounds=5):6.0f} us")
    message = (
        b'{"id":"msg_01","type":"message","role":"assistant","model":"claude-opus-5","content":[{"type":"text","text":"%s"}],"stop_reason":"end_turn","usage":{"input_tokens":10,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":500}}'
        % (b"word " * 400)
    )
    print(f"{'one JSON answer of 2 KB':40} {best(lambda: from_message(message)):6.2f} us")


if __name__ == "__main__":
    main()
