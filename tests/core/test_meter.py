"""Meters: what a body says while it passes, whatever its chunks, and how a broken stream is ended."""

import json
import re
import time
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.answers import BatchLine, from_batch_line, from_chat_completion, from_complete, from_message
from gateway.core.meter import BatchMeter, ChatMeter, EventMeter, JsonMeter, StreamMeter, meter_for
from gateway.core.meter.bodies import MOST_BODY, MOST_LINE
from gateway.core.meter.sse import MOST_EVENT
from gateway.core.usage import NOTHING, Ended, Iteration, Usage, filled, unknown
from tests.core import recordings
from tests.core.recordings import BASE, FABLE, HELLO, OPUS, PING, RECORDINGS, STOP, Recording, end, event, start, text

LINE_ENDS = {"LF": b"\n", "CRLF": b"\r\n", "CR": b"\r"}
any_recording = st.sampled_from(list(RECORDINGS.values()))
every_recording = pytest.mark.parametrize("recording", RECORDINGS.values(), ids=RECORDINGS.keys())


def facts(meter: EventMeter, *, ended: Ended = "ok") -> tuple[object, ...]:
    """All that a stream's meter says."""
    position = (meter.at_border, meter.tail_for_error())
    usage = meter.finish(ended=ended)
    return (usage, meter.output_bytes, meter.first_event, meter.error_type, *position)


def fed(chunks: list[bytes], meter: EventMeter | None = None) -> EventMeter:
    meter = meter or StreamMeter()
    for chunk in chunks:
        meter.feed(chunk)
    return meter


def parts(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(places)]


def dispatched(stream: str) -> list[tuple[str, str]]:
    """The events a client dispatches, by the letter of the SSE specification; the oracle for our cutting."""
    events: list[tuple[str, str]] = []
    name, data = "", list[str]()
    *lines, _ = re.split(r"\r\n|\n|\r", stream.removeprefix("\ufeff"))
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append((name or "message", "\n".join(data)))
            name, data = "", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
    return events


class TestStream:
    """A Messages stream."""

    @every_recording
    @pytest.mark.parametrize("line_end", LINE_ENDS.values(), ids=LINE_ENDS.keys())
    def test_recording(self, recording: Recording, line_end: bytes) -> None:
        """Every kind of stream says what Claude meant by it, under each kind of line end."""
        meter = fed([recording.stream.replace(b"\n", line_end)])
        usage = meter.finish(ended="ok")

        expected = (recording.usage, recording.output_bytes, recording.first_event, recording.error_type)
        assert expected == (usage, meter.output_bytes, meter.first_event, meter.error_type)

    @every_recording
    def test_split_once_anywhere(self, recording: Recording) -> None:
        """A stream in two chunks meters the same as in one, wherever it is cut."""
        stream = recording.stream.replace(b"\n", b"\r\n")
        whole = facts(fed([stream]))

        for cut in range(len(stream) + 1):
            assert whole == facts(fed([stream[:cut], stream[cut:]])), cut

    @every_recording
    @pytest.mark.parametrize("size", [1, 2, 3, 7])
    def test_split_everywhere(self, recording: Recording, size: int) -> None:
        """A stream in crumbs meters the same as in one piece."""
        stream = recording.stream
        crumbs = [stream[at : at + size] for at in range(0, len(stream), size)]

        assert facts(fed([stream])) == facts(fed(crumbs))

    @given(
        st.lists(any_recording, min_size=1, max_size=3),
        st.lists(st.integers(min_value=0), max_size=12),
        st.sampled_from(list(LINE_ENDS.values())),
        st.sampled_from(["ok", "cut", "cancelled"]),
        st.integers(min_value=0),
    )
    def test_any_split(
        self, streams: list[Recording], cuts: list[int], line_end: bytes, ended: Ended, length: int
    ) -> None:
        """Any split of any streams, one after the other and broken off anywhere, meters the same as the whole."""
        stream = b"".join(recording.stream for recording in streams).replace(b"\n", line_end)
        stream = stream[: length % (len(stream) + 1)]

        assert facts(fed([stream]), ended=ended) == facts(fed(parts(stream, cuts)), ended=ended)

    @given(st.binary(max_size=300), st.lists(st.integers(min_value=0), max_size=5))
    def test_any_bytes(self, stream: bytes, cuts: list[int]) -> None:
        """Whatever comes in the place of a stream is metered without an error, and says that it was none."""
        usage = fed(parts(stream, cuts)).finish(ended="ok")

        assert ("cut", True) == (usage.estimated, usage.lacks_input)

    @given(
        st.sampled_from(list(RECORDINGS.values())), st.integers(min_value=0), st.sampled_from(list(LINE_ENDS.values()))
    )
    def test_error_after_a_cut(self, recording: Recording, length: int, line_end: bytes) -> None:
        """After a cut anywhere our error event is the only thing a client gets: no broken event, no broken text."""
        stream = recording.stream.replace(b"\n", line_end)
        stream = stream[: length % (len(stream) + 1)]
        meter = fed([stream])
        before = dispatched(stream.decode(errors="replace"))
        tail = meter.tail_for_error()
        error = event("error", error={"type": "api_error"})
        if recording is not RECORDINGS["a delta nobody could decode"]:
            (stream + tail).decode()  # a client that decodes strictly survives it
        after = dispatched((stream + tail + error).decode(errors="replace"))

        assert before == after[: len(before)]
        assert ["error"] == [name for name, _ in after[len(before) :]]
        assert after[-1][1].endswith('{"type":"error","error":{"type":"api_error"}}')
        if meter.at_border:
            assert b"" == tail
            assert '{"type":"error","error":{"type":"api_error"}}' == after[-1][1]

    @pytest.mark.parametrize(
        ("cut", "tail"),
        [
            (b"", b""),
            (b"event: ping\ndata: {}\n\n", b""),
            (b"event: ping\r\ndata: {}\r\n\r", b""),
            (b"event: ping\ndata: {}\n", b""),
            (b"event: ping\ndata: {}\r", b""),
            (b"event: ping\ndata: {", b"\n"),
            (b"eve", b"\n"),
            (b": comm", b"\n"),
            ("data: é".encode()[:-1], b"\x80\n"),
            ("data: €".encode()[:-1], b"\x80\n"),
            ("data: €".encode()[:-2], b"\x80\x80\n"),
            ("data: 🙂".encode()[:-3], b"\x90\x80\x80\n"),
            ("data: 🙂".encode(), b"\n"),
        ],
    )
    def test_tail_for_error(self, cut: bytes, tail: bytes) -> None:
        """Nothing is needed at a border or a line's end, else a line's end, and the rest of a character before it."""
        assert tail == fed([cut]).tail_for_error()
        assert tail == fed([bytes([byte]) for byte in cut]).tail_for_error()

    def test_first_event(self) -> None:
        """A retry stays unseen until the first event other than ping is complete; an error tells its type then."""
        meter = StreamMeter()
        failed = event("error", error={"type": "overloaded_error"})
        seen = []
        for chunk in (PING, failed[:-1], failed[-1:]):
            meter.feed(chunk)
            seen.append((meter.first_event, meter.error_type))

        assert [(None, None), (None, None), ("error", "overloaded_error")] == seen

    def test_cut(self) -> None:
        """A cut stream is charged for its input and the output relayed until then."""
        usage = fed([start() + HELLO]).finish(ended="cut")

        tokens = -(-recordings.HELLO_BYTES // 4)
        assert replace(BASE, output=tokens, stop_reason=None, complete=False, estimated="cut") == usage

    def test_cut_inside_a_delta(self) -> None:
        """What was relayed of a broken delta counts too."""
        whole = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "x" * 400})
        meter = fed([start() + whole[:-205]])
        usage = meter.finish(ended="cut")

        assert (200, 50) == (meter.output_bytes, usage.output)

    def test_cancelled(self) -> None:
        """A stream that nobody waits for any more says so, whatever else is missing from it."""
        usage = fed([start() + HELLO]).finish(ended="cancelled")

        assert ("cancelled", False, False, False) == (
            usage.estimated, usage.complete, usage.lacks_input, usage.lacks_output,
        )  # fmt: skip

    def test_cancelled_before_the_start(self) -> None:
        """Without a start the input is the caller's estimate and the output is what was seen: none."""
        usage = fed([PING]).finish(ended="cancelled")

        expected = Usage(input=500, complete=False, estimated="cancelled")
        assert expected == filled(usage, input=500, output=90)

    def test_cancelled_after_the_last_word(self) -> None:
        """A client that leaves after Claude's last word is charged exactly."""
        assert BASE == fed([start() + HELLO + end(output_tokens=89)]).finish(ended="cancelled")

    @pytest.mark.parametrize("size", [10, 2 * MOST_EVENT], ids=["short", "longer than is kept"])
    def test_cut_after_searches(self, size: int) -> None:
        """Searches whose results were relayed are charged although no usage told of them; one that failed is not."""
        found = [{"type": "web_search_result", "encrypted_content": "x" * size}]
        failed = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
        results = [
            event("content_block_start", index=n, content_block={"type": "web_search_tool_result", "content": content})
            for n, content in enumerate((found, failed, found))
        ]

        assert fed([start(), *results]).finish(ended="cut").web_searches == 2
        told = end(output_tokens=5, server_tool_use={"web_search_requests": 1})
        assert fed([start(), *results, told, STOP]).finish(ended="ok").web_searches == 1

    def test_cut_between_an_advisor_and_the_end(self) -> None:
        """The advisor's own run is charged beside the estimate of what was relayed."""
        stream = RECORDINGS["an advisor, with a delta after each of its answers"].stream
        usage = fed([stream[: stream.rindex(b"event: message_delta")]]).finish(ended="cut")

        assert ("cut", 89) == (usage.estimated, usage.output)
        assert (
            Iteration("message", None, 472, 89),
            Iteration("advisor_message", "claude-fable-5-2", 823, 1612),
        ) == usage.runs()

    def test_cut_after_a_fallback(self) -> None:
        """Each model of a cut stream is charged for what it wrote; one that wrote nothing for nothing."""
        stream = (
            start(FABLE)
            + text(0, "x" * 40)
            + recordings.fallback(1, FABLE, "claude-opus-4-8")
            + recordings.fallback(2, "claude-opus-4-8", OPUS)
            + text(3, "y" * 80)
        )
        usage = fed([stream]).finish(ended="cut")

        assert ("cut", OPUS) == (usage.estimated, usage.served_by)
        assert (
            Iteration("fallback_message", OPUS, 472, 20),
            Iteration("message", FABLE, 472, 10),
        ) == usage.runs()

    def test_large_events(self) -> None:
        """Events of megabytes are counted, not kept, and split or not they meter the same."""
        result = recordings.block(0, "web_search_tool_result", content="r" * (MOST_EVENT + 10))
        delta = event("content_block_delta", index=1, delta={"type": "text_delta", "text": "x" * (MOST_EVENT * 5)})
        stream = start() + result + delta + end(output_tokens=89) + STOP
        whole = facts(fed([stream]))

        assert (BASE, MOST_EVENT * 5) == whole[:2]
        for size in (65_536, 1_000_003):
            assert whole == facts(fed([stream[at : at + size] for at in range(0, len(stream), size)]))

    def test_large_event_without_an_end(self) -> None:
        """A stream that is cut inside megabytes of a delta, or of something unknown, is charged for the delta."""
        delta = event("content_block_delta", index=1, delta={"type": "text_delta", "text": "x" * (MOST_EVENT * 2)})
        cut = fed([start() + event("aside", text="x" * MOST_EVENT) + delta[:-5]])

        assert ("cut", MOST_EVENT // 2) == (cut.finish(ended="cut").estimated, (cut.output_bytes + 5) // 4)

    def test_memory(self) -> None:
        """What is held of an event that never ends is bounded."""
        meter = fed([start() + b"event: content_block_delta\ndata: "])
        for _ in range(64):
            meter.feed(b"x" * 65_536)
        held = sum(map(len, meter._reader._pieces))
        for _ in range(64):
            meter.feed(b"x" * 65_536)

        assert held == sum(map(len, meter._reader._pieces)) < 16_384

    @pytest.mark.parametrize("name", ["message_start", "message_delta", "error"])
    def test_large_events_that_would_be_read(self, name: str) -> None:
        """An event that is too large to read is odd, and what it would have said is estimated."""
        large = event(name, padding="x" * MOST_EVENT)
        stream = large + start() + HELLO if name == "message_start" else start() + HELLO + large
        usage = fed([stream]).finish(ended="ok")

        assert ("cut", ("large_event",)) == (usage.estimated, usage.oddities)

    def test_cost(self) -> None:
        """Metering a delta costs a microsecond or two; held to tenfold, for machines differ."""
        delta = event("content_block_delta", index=0, delta={"type": "text_delta", "text": " and then the other one"})
        best = 1.0
        for _ in range(5):
            meter = fed([start()])
            begun = time.perf_counter()
            for _ in range(1000):
                meter.feed(delta)
            best = min(best, time.perf_counter() - begun)

        assert best / 1000 < 20e-6


def chunk(delta: object, **fields: object) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": None}]
    whole = {
        "id": "msg_01",
        "object": "chat.completion.chunk",
        "created": 1766000000,
        "model": OPUS,
        "choices": choices,
    }
    return (
        b"data: "
        + json.dumps(whole | {"choices": choices} | fields, separators=(",", ":"), ensure_ascii=False).encode()
        + b"\n\n"
    )


DONE = b"data: [DONE]\n\n"
TALK = (
    chunk({"role": "assistant", "content": ""})
    + b": hi\n\n"
    + chunk({"content": "Hello"})
    + chunk({"content": "wörld"})
)
TALK_BYTES = len('"role":"assistant",') + 5 + 6
COUNTS = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
CHATS = {
    "usage in the last chunk": (
        TALK + chunk({}, usage=None) + chunk({}, choices=[], usage=COUNTS) + DONE,
        Usage(input=10, output=20, model=OPUS),
    ),
    "text that speaks of usage": (
        TALK + chunk({"content": '"usage":{"prompt_tokens":9}'}) + chunk({}, choices=[], usage=COUNTS) + DONE,
        Usage(input=10, output=20, model=OPUS),
    ),
    "no usage was asked for": (
        TALK + DONE,
        Usage(output=-(-TALK_BYTES // 4), model=OPUS, complete=False, estimated="no_usage", lacks_input=True),
    ),
    "cut": (
        TALK, Usage(output=-(-TALK_BYTES // 4), model=OPUS, complete=False, estimated="cut", lacks_input=True),
    ),
    "an error first": (b'data: {"error":{"type":"overloaded_error"}}\n\n', NOTHING),
    "a named error first": (event("error", error={"type": "overloaded_error"}), NOTHING),
    "usage that is no count": (
        TALK + chunk({}, choices=[], usage=COUNTS | {"prompt_tokens": -1}) + DONE,
        Usage(
            output=20, model=OPUS, complete=False, estimated="bad_usage", lacks_input=True,
            oddities=("bad_input_tokens",),
        ),
    ),
    "a usage that is no JSON": (
        TALK + b'data: {"usage":{oops\n\n' + DONE,
        Usage(
            output=-(-TALK_BYTES // 4), model=OPUS, complete=False, estimated="no_usage", lacks_input=True,
            oddities=("unreadable_chunk",),
        ),
    ),
}  # fmt: skip


class TestChat:
    """A chat/completions stream."""

    @pytest.mark.parametrize(("stream", "expected"), CHATS.values(), ids=CHATS.keys())
    def test_stream(self, stream: bytes, expected: Usage) -> None:
        """The usage is Claude's when the client asked for it, else the bytes of the deltas."""
        assert expected == fed([stream], ChatMeter()).finish(ended="ok")

    @given(st.sampled_from([stream for stream, _ in CHATS.values()]), st.lists(st.integers(min_value=0), max_size=12))
    def test_any_split(self, stream: bytes, cuts: list[int]) -> None:
        """Any split meters the same as the whole."""
        assert facts(fed([stream], ChatMeter())) == facts(fed(parts(stream, cuts), ChatMeter()))

    def test_large_event(self) -> None:
        """A chunk too long to read is counted as text."""
        usage = fed([TALK + chunk({"content": "x" * MOST_EVENT}) + DONE], ChatMeter()).finish(ended="ok")

        assert ("no_usage", True) == (usage.estimated, usage.output > MOST_EVENT // 4)

    def test_first_event(self) -> None:
        """An error in the place of the first chunk is known as one."""
        seen = []
        for stream in (b": hi\n\n", TALK, *(CHATS[name][0] for name in ("an error first", "a named error first"))):
            meter = fed([stream], ChatMeter())
            seen.append((meter.first_event, meter.error_type))

        assert [(None, None), ("chunk", None), ("error", "overloaded_error"), ("error", "overloaded_error")] == seen


def answer(size: int, *, usage: object, content: object = None, last: str = "usage") -> bytes:
    """A message whose content fills `size` bytes, with its usage behind it."""
    whole = {
        "model": OPUS,
        "content": [{"type": "text", "text": "x" * size}, *([content] if content else [])],
        "stop_reason": "end_turn",
        "usage": usage,
    }
    if last != "usage":
        whole[last] = whole.pop(last)
    return json.dumps(whole).encode()


class TestJson:
    """One JSON answer."""

    @pytest.mark.parametrize("size", [10, MOST_BODY - 200, MOST_BODY, MOST_BODY * 3])
    @pytest.mark.parametrize("last", ["usage", "stop_reason"])
    @pytest.mark.parametrize("step", [1000, 65_536, 10**9])
    def test_any_length(self, size: int, last: str, step: int) -> None:
        """The usage of an answer is found at its end, however long it is and in whatever chunks it comes."""
        body = answer(size, usage={"input_tokens": 10, "output_tokens": 20}, last=last)
        meter = JsonMeter()
        for at in range(0, len(body), step):
            meter.feed(body[at : at + step])
        usage = meter.finish(ended="ok")

        assert Usage(input=10, output=20, stop_reason="end_turn") == replace(usage, model=None)

    def test_usage_inside_the_content(self) -> None:
        """A tool's input that has a usage of its own is not mistaken for the answer's."""
        trap = {
            "type": "tool_use",
            "input": {"usage": {"input_tokens": 999}, "stop_reason": "no", "z": [{"usage": {}}]},
        }
        body = answer(MOST_BODY, usage={"input_tokens": 10, "output_tokens": 20}, content=trap)
        meter = JsonMeter()
        meter.feed(body)

        assert Usage(input=10, output=20, stop_reason="end_turn") == meter.finish(ended="ok")

    def test_memory(self) -> None:
        """What is held of a long answer is bounded."""
        meter = JsonMeter()
        for _ in range(500):
            meter.feed(b"x" * 65_536)

        assert sum(map(len, meter._kept)) < MOST_BODY + 65_536

    @pytest.mark.parametrize("ended", ["cut", "cancelled"])
    def test_not_all_there(self, ended: Literal["cut", "cancelled"]) -> None:
        """A call that was broken or given up is charged by its hold, with the reason and without an oddity."""
        meter = JsonMeter()
        meter.feed(answer(10, usage={"input_tokens": 10})[:-4])

        assert unknown(ended) == meter.finish(ended=ended)

    def test_all_there_though_nobody_waits(self) -> None:
        """An answer that had come whole is exact, whoever left."""
        meter = JsonMeter()
        meter.feed(answer(10, usage={"input_tokens": 10, "output_tokens": 20}))

        assert Usage(input=10, output=20, model=OPUS, stop_reason="end_turn") == meter.finish(ended="cancelled")

    def test_long_and_without_usage(self) -> None:
        """A long answer that says no usage at its end says none."""
        meter = JsonMeter()
        meter.feed(b'{"usage":' + b"x" * MOST_BODY + b'"usage":{}]}')

        assert unknown("no_usage", "unreadable_body") == meter.finish(ended="ok")

    def test_no_answer(self) -> None:
        """A proper end without a readable answer is odd."""
        meter = JsonMeter()
        meter.feed(b"<html>")

        assert unknown("no_usage", "unreadable_body") == meter.finish(ended="ok")

    def test_other_formats(self) -> None:
        """The reader is the format's."""
        meter = JsonMeter(from_complete)
        meter.feed(b'{"completion":"Hello"}')

        assert (2, True) == (meter.finish(ended="ok").output, meter.finish(ended="ok").lacks_input)


def result(number: int, kind: str = "succeeded", **usage: object) -> bytes:
    message = {
        "model": OPUS,
        "content": [{"type": "text", "text": "é€🙂\n"}],
        "stop_reason": "end_turn",
        "usage": usage,
    }
    entry = {"custom_id": f"r-{number}", "result": {"type": kind, "message": message}}
    return json.dumps(entry, ensure_ascii=False).encode()


class TestBatch:
    """A batch's results."""

    lines = (
        result(1, input_tokens=10, output_tokens=20),
        result(2, "errored"),
        b"",
        b"oops",
        result(3, input_tokens=5, output_tokens=6, cache_read_input_tokens=7),
    )

    @given(st.lists(st.integers(min_value=0), max_size=9), st.sampled_from([b"\n", b"\r\n"]), st.booleans())
    def test_any_split(self, cuts: list[int], line_end: bytes, closed: bool) -> None:
        """Each line is read once, wherever the chunks part, with or without an end to the last one."""
        stream = line_end.join(self.lines) + (line_end if closed else b"")
        meter = BatchMeter()
        taken: list[BatchLine] = []
        for part in parts(stream, cuts):
            meter.feed(part)
            taken += meter.take()
        usage = meter.finish(ended="ok")
        taken += meter.take()

        assert [from_batch_line(line) for line in self.lines if line] == taken
        assert (15, 26, 7, "no_usage", ("unreadable_line",)) == (
            usage.input, usage.output, usage.cache_read, usage.estimated, usage.oddities,
        )  # fmt: skip

    def test_exact(self) -> None:
        """Results that can all be read add up exactly."""
        meter = BatchMeter()
        meter.feed(self.lines[0] + b"\n" + self.lines[1] + b"\n" + self.lines[4] + b"\n")

        assert Usage(input=15, output=26, cache_read=7, service_tier="batch") == meter.finish(ended="ok")

    def test_cut(self) -> None:
        """Results that broke off are no sum to rely on."""
        meter = BatchMeter()
        meter.feed(self.lines[0] + b"\n")

        assert ("cut", False) == (meter.finish(ended="cut").estimated, meter.finish(ended="cut").complete)

    def test_large_line(self) -> None:
        """A line too long to keep is said to be unreadable, and the next one is read again."""
        meter = BatchMeter()
        for _ in range(MOST_LINE // 2**20 + 1):
            meter.feed(b"x" * 2**20)
        meter.feed(b"\n" + self.lines[0] + b"\n")

        expected = [BatchLine(None, "unreadable", unknown("no_usage", "large_line")), from_batch_line(self.lines[0])]
        assert expected == meter.take()


@pytest.mark.parametrize(
    ("route", "stream", "status", "expected"),
    [
        ("messages", True, 200, StreamMeter),
        ("messages", False, 200, JsonMeter),
        ("chat_completions", True, 200, ChatMeter),
        ("chat_completions", False, 200, JsonMeter),
        ("complete", True, 200, StreamMeter),
        ("messages", False, 429, None),
        ("messages", True, 529, None),
        ("count_tokens", False, 200, None),
        ("files.create", False, 200, None),
    ],
)
def test_meter_for(route: str, stream: bool, status: int, expected: type | None) -> None:
    """An answer's meter is chosen by its route; what costs nothing by itself has none."""
    meter = meter_for(route, stream=stream, status=status)

    assert expected == (type(meter) if meter is not None else None)


def test_reader_of_each_route() -> None:
    """A JSON answer is read in the format of its route."""
    readers = {}
    for route in ("messages", "chat_completions", "complete"):
        meter = meter_for(route, stream=False, status=200)
        assert isinstance(meter, JsonMeter)
        readers[route] = meter._read

    assert {"messages": from_message, "chat_completions": from_chat_completion, "complete": from_complete} == readers
