"""What counts as input: the tokenizer, images, documents, tools; the prompt cache; threads."""

import base64
import re
import struct
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.models import MODELS
from gateway.simulator.prompt import dimensions, parts_of
from gateway.simulator.speech import speak
from gateway.simulator.tokens import CLASSIC, DENSE, Generation, count
from tests.simulator.asking import body, post

PROSE = (
    "Every change to the protocol was reviewed by two engineers before the release, and the notes explain what an "
    "operator has to do after an upgrade. Connections that stay idle for longer than the configured period are closed; "
    "clients should therefore expect an occasional reconnect and repeat their last request when a server asks for it. "
)
CODE = '''def settle(self, reservation, actual):
    """Book the difference between what was held and what was used."""
    for key, amount in reservation.holds.items():
        if amount < actual.get(key, 0):
            self.levels[key] -= actual[key] - amount
        else:
            self.levels[key] += amount - actual.get(key, 0)
    return [entry for entry in self.journal if entry.reservation == reservation.id]
'''
NUMBERS = "".join(f"{n * 7919 % 100_003},{n * 104_729 % 997},{n * 31 % 13}\n" for n in range(60))
CHINESE = "今天天气很好，我们去公园散步吧。人工智能正在改变我们的生活方式，这是一个重要的时代。"
RUSSIAN = "Сегодня хорошая погода, и мы пойдём гулять в парк. Пожалуйста, расскажите подробнее об этом вопросе. "


# Tokens per byte of each class, as measured on Claude's two tokenizer generations: lower, upper, digits, marks, and the
# lead bytes of two- and three-byte letters. Blanks cost nothing.
WEIGHTS = {
    CLASSIC.name: (0.245, 1.586, 0.536, 0.605, 0.440, 1.069),
    DENSE.name: (0.390, 1.703, 0.517, 0.713, 0.440, 1.068),
}


def measured(text: str, generation: Generation) -> float:
    classes = ("[a-z]", "[A-Z]", "[0-9]", r"[!-/:-@\[-`{-~]", "[\u0080-\u07ff]", "[\u0800-\uffff]")
    return sum(w * len(re.findall(c, text)) for w, c in zip(WEIGHTS[generation.name], classes, strict=True))


@pytest.mark.parametrize("generation", [CLASSIC, DENSE], ids=lambda one: one.name)
@pytest.mark.parametrize("text", [PROSE, CODE, NUMBERS, CHINESE, RUSSIAN], ids=["prose", "code", "csv", "zh", "ru"])
def test_texts_make_a_plausible_number_of_tokens(text: str, generation: Generation) -> None:
    """For each kind of text the count is within a quarter of what Claude's tokenizers were measured to give."""
    assert count(text, generation) == pytest.approx(measured(text, generation), rel=0.25)


@given(st.text(max_size=200), st.text(max_size=200))
def test_counting_is_additive_within_one_token_a_seam(left: str, right: str) -> None:
    """Every text counts, more text never counts less by more than what a seam can join."""
    for generation in (CLASSIC, DENSE):
        whole = count(left + right, generation)
        assert whole <= count(left, generation) + count(right, generation) + 32
        assert (whole == 0) == (left + right == "")


@given(st.integers(0, 2**32), st.integers(0, 300))
def test_speech_has_as_many_tokens_as_asked(seed: int, tokens: int) -> None:
    """The words of an answer are one token each, in both generations, joined too."""
    words = speak(seed, tokens)

    assert tokens == len(words) == count("".join(words), CLASSIC) == count("".join(words), DENSE)


PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 1280, 720) + b"\x08\x02\x00\x00\x00"
GIF = b"GIF89a" + struct.pack("<HH", 300, 200) + b"\x00" * 8
JPEG = b"\xff\xd8\xff\xe0\x00\x04JF\xff\xc0\x00\x11\x08" + struct.pack(">HH", 720, 1280) + b"\x03" + b"\x00" * 16
WEBP = b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\xff\x04\x00\xcf\x02\x00"


@pytest.mark.parametrize(
    ("head", "size"), [(PNG, (1280, 720)), (GIF, (300, 200)), (JPEG, (1280, 720)), (WEBP, (1280, 720)), (b"BM", None)]
)
def test_the_size_of_an_image_is_in_its_first_bytes(head: bytes, size: Any) -> None:
    """PNG, GIF, JPEG and WebP heads give width and height; anything else nothing."""
    assert size == dimensions(head)


def tokens_of(content: Any, model: str, **more: Any) -> int:
    request = {"messages": [{"role": "user", "content": content}], **more}
    return sum(part.tokens for part in parts_of(request, MODELS[model], {})) - 3


def image(head: bytes) -> Any:
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(head).decode()}
    return [{"type": "image", "source": source}]


def test_an_image_counts_by_its_size() -> None:
    """Tiles of 28 pixels after scaling to the model's cap; an unknown size counts as the largest."""
    assert 46 * 26 == tokens_of(image(PNG), "claude-opus-5")
    assert 46 * 26 == tokens_of(image(PNG), "claude-sonnet-4-6")
    wide = PNG.replace(struct.pack(">II", 1280, 720), struct.pack(">II", 5152, 560))
    assert 92 * 10 == tokens_of(image(wide), "claude-opus-5")
    assert 1568 == tokens_of(image(b"??"), "claude-haiku-4-5")
    assert 4784 == tokens_of([{"type": "image", "source": {"type": "url", "url": "https://x/"}}], "claude-opus-5")


def test_base64_is_never_text() -> None:
    """A megabyte of PDF without pages counts by its bytes, not by its letters."""
    data = base64.b64encode(b"%PDF /Type /Page /Type /Page /Type /Pages").decode()
    document = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data}}

    assert 2 * 2_100 == tokens_of([document], "claude-opus-5")


def test_earlier_thinking_is_free() -> None:
    """Thinking blocks of earlier turns do not count."""
    block = {"type": "thinking", "thinking": PROSE, "signature": "x" * 400}

    assert 0 == tokens_of([block], "claude-opus-5")


def test_tools_add_a_hidden_prompt() -> None:
    """The hidden tokens depend on the model and on whether a tool must be called."""
    tool = {"name": "f", "input_schema": {"type": "object"}}
    free = tokens_of("Hi.", "claude-opus-4-7", tools=[tool])
    forced = tokens_of("Hi.", "claude-opus-4-7", tools=[tool], tool_choice={"type": "any"})

    assert 804 - 675 == forced - free


LONG = PROSE * 30


def system(ttl: str | None = None) -> list[Any]:
    return [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", **({"ttl": ttl} if ttl else {})}}]


async def usage(http: aiohttp.ClientSession, **more: Any) -> tuple[int, int, int, int]:
    """Uncached, written for 5 minutes, written for an hour, read."""
    text = more.pop("text", "Hello there.")
    _, message = await post(http, "/v1/messages", body(text, **more))
    used = message["usage"]
    split = used["cache_creation"]
    assert used["cache_creation_input_tokens"] == sum(split.values())
    return (
        used["input_tokens"],
        split["ephemeral_5m_input_tokens"],
        split["ephemeral_1h_input_tokens"],
        used["cache_read_input_tokens"],
    )


async def test_a_prefix_is_written_once_and_read_after(http: aiohttp.ClientSession) -> None:
    """The first request writes, the next ones read; total input stays the same."""
    plain = await usage(http, system=[{"type": "text", "text": LONG}])
    first = await usage(http, system=system())
    second = await usage(http, system=system(), text="Something else.")
    written = count(LONG, DENSE)

    assert (plain[0] - written, written, 0, 0) == first
    assert (written, 0) == (second[3], second[1])


async def test_an_hour_has_its_own_count(http: aiohttp.ClientSession) -> None:
    """`ttl: 1h` is counted apart, and a breakpoint after it writes only what is new."""
    first = await usage(http, system=system("1h"))
    both = await usage(http, system=system("1h"), text=LONG, cache_control={"type": "ephemeral"})
    written = count(LONG, DENSE)

    assert (0, written, 0) == first[1:]
    assert (written + 3, 0, written) == both[1:]


async def test_small_prefixes_and_other_workspaces_and_models_miss(simulator: Any, http: aiohttp.ClientSession) -> None:
    """Below the minimum nothing is kept; another workspace, model or text reads nothing."""
    small = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    assert (0, 0, 0) == (await usage(http, system=small))[1:]
    await usage(http, system=system())
    assert 0 == (await usage(http, system=system(), model="claude-sonnet-5"))[3]
    assert 0 == (await usage(http, system=[{**system()[0], "text": LONG + "!"}]))[3]
    other = {"x-api-key": "ws-ads-1"}
    async with http.post("/v1/messages", json=body(system=system()), headers=other) as answer:
        assert 0 == (await answer.json())["usage"]["cache_read_input_tokens"]


async def test_a_longer_conversation_reads_the_shorter_one(http: aiohttp.ClientSession) -> None:
    """The automatic breakpoint of one turn is found by the next within the look-back."""
    turn: list[Any] = [{"role": "user", "content": LONG}]
    first = await usage(http, messages=turn, cache_control={"type": "ephemeral"})
    longer = [*turn, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And?"}]
    second = await usage(http, messages=longer, cache_control={"type": "ephemeral"})

    assert first[1] == second[3]
    assert 0 < second[1] < 20


THREADS = {"anthropic_beta": "message-threads-2026-08-12"}


def follow(message: Any, text: str = "And then?") -> dict[str, Any]:
    return body(text, thread={"type": "continue", "previous_message_id": message["id"]})


async def test_a_thread_holds_the_conversation(http: aiohttp.ClientSession) -> None:
    """A continue carries only what is new and is billed for the whole."""
    _, first = await post(http, "/v1/messages", body(LONG, system="Be brief.", thread={"type": "create"}), **THREADS)
    status, second = await post(http, "/v1/messages", follow(first), **THREADS)

    assert 200 == status
    assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"] + first["usage"]["output_tokens"]


async def test_a_thread_is_continued_once_and_by_its_workspace(http: aiohttp.ClientSession) -> None:
    """Unknown, foreign and used messages each have their own error."""

    async def code(asked: Any, **headers: str) -> tuple[int, str]:
        status, error = await post(http, "/v1/messages", asked, **THREADS, **headers)
        return status, error["error"]["details"]["error_code"]

    _, first = await post(http, "/v1/messages", body(thread={"type": "create"}), **THREADS)
    assert (404, "thread_not_found") == await code(follow(first), x_api_key="ws-ads-1")
    assert (404, "thread_not_found") == await code(follow({"id": "msg_none"}))
    assert (400, "thread_fingerprint_mismatch") == await code({**follow(first), "system": "Other."})
    assert (400, "thread_unsupported_request") == await code({**follow(first), "cache_control": {"type": "ephemeral"}})
    assert 200 == (await post(http, "/v1/messages", follow(first), **THREADS))[0]
    assert (400, "thread_already_continued") == await code(follow(first))
