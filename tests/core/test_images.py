"""Images: sizes from headers, whatever the bytes are, and tokens from sizes."""

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.images import HEADS, Size, size_of, size_of_base64, tokens_of
from gateway.core.tokenizers import tokenizer_of

SIDES = st.integers(1, 16_000)


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x08\x06\0\0\0" + b"\0" * 50


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\xf7\0\0" + b"\0" * 50


def webp_lossy(width: int, height: int) -> bytes:
    frame = b"\x30\x01\0\x9d\x01\x2a" + struct.pack("<HH", width | 0x4000, height)
    return b"RIFF\0\0\0\0WEBPVP8 " + struct.pack("<I", len(frame)) + frame + b"\0" * 50


def webp_lossless(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14 | 1 << 28
    return b"RIFF\0\0\0\0WEBPVP8L" + struct.pack("<I", 10) + b"\x2f" + struct.pack("<I", bits) + b"\0" * 50


def webp_extended(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + sides + b"\0" * 50


def jpeg(width: int, height: int, *, before: int = 0, marker: int = 0xC0) -> bytes:
    """`before`: bytes of metadata before the frame header, in segments of at most 64 kB."""
    segments = b""
    while before > 0:
        length = min(before, 65_000)
        segments += b"\xff\xe1" + struct.pack(">H", length + 2) + b"\xff\xc0" * (length // 2) + b"x" * (length % 2)
        before -= length
    tables = b"\xff\xdb" + struct.pack(">H", 67) + b"\0" * 65 + b"\xff\xc4" + struct.pack(">H", 5) + b"\0" * 3
    frame = b"\xff\xff" + bytes([marker]) + struct.pack(">HBHH", 17, 8, height, width) + b"\x03" + b"\0" * 9
    return b"\xff\xd8" + segments + tables + b"\xff" + frame + b"\xff\xda" + b"\0" * 50


FORMATS = {
    "png": png,
    "gif": gif,
    "webp lossy": webp_lossy,
    "webp lossless": webp_lossless,
    "webp extended": webp_extended,
    "jpeg": jpeg,
    "progressive jpeg": lambda width, height: jpeg(width, height, marker=0xC2),
    "jpeg with exif": lambda width, height: jpeg(width, height, before=5000),
    "jpeg with a large profile": lambda width, height: jpeg(width, height, before=300_000),
}


def in_json(data: bytes) -> memoryview:
    return memoryview(base64.b64encode(data))


@pytest.mark.parametrize("kind", FORMATS)
@given(width=SIDES, height=SIDES)
def test_sizes_are_read_from_headers(kind: str, width: int, height: int) -> None:
    """Each format's header tells the size, whatever stands before and behind it."""
    data = FORMATS[kind](width, height)

    assert (width, height) == size_of(data)
    assert (width, height) == size_of_base64(in_json(data))


def test_an_escaped_slash_is_a_slash() -> None:
    """Encoders that write \\/ for / do not hide the size."""
    data = png(0x3FFF, 0xFFF3)
    escaped = base64.b64encode(data).replace(b"/", b"\\/")

    assert b"\\/" in escaped
    assert (0x3FFF, 0xFFF3) == size_of_base64(memoryview(escaped))


@given(st.sampled_from(list(FORMATS)), st.integers(0, 120), st.binary(max_size=40))
def test_any_damage_is_a_size_or_unknown(kind: str, place: int, damage: bytes) -> None:
    """Headers cut and overwritten anywhere give positive numbers or nothing, and never an error."""
    data = FORMATS[kind](640, 480)
    for broken in (data[:place], data[:place] + damage + data[place + len(damage) :], damage + data):
        for size in (size_of(broken), size_of_base64(in_json(broken))):
            assert size is None or min(size) > 0


@given(st.binary(max_size=200))
def test_any_text_instead_of_base64_is_a_size_or_unknown(text: bytes) -> None:
    """What stands where base64 should is not trusted to be base64."""
    size = size_of_base64(memoryview(text))

    assert size is None or min(size) > 0


def test_a_jpeg_without_a_frame_is_given_up() -> None:
    """The search for a frame header ends with the data or after a megabyte."""
    bare = b"\xff\xd8\xff\xd0\xff\x01" + jpeg(5, 7)[2:]  # markers without a length before it
    assert size_of(bare) == (5, 7)

    for data in (b"\xff\xd8" + b"\xff" * 3_000_000, b"\xff\xd8" + b"\xff\xe1\0\0" * 500_000, jpeg(5, 5)[:40]):
        assert size_of_base64(in_json(data)) is None

    far = jpeg(7, 9, before=HEADS[-1])
    assert size_of_base64(in_json(far)) is None


@pytest.mark.parametrize(
    ("size", "standard", "large"),
    [
        ((28, 28), 1, 1),
        ((29, 28), 2, 2),
        ((256, 256), 100, 100),
        ((512, 512), 361, 361),
        ((768, 768), 784, 784),
        ((1024, 1024), 1369, 1369),
        ((1280, 720), 1196, 1196),
        ((1920, 1080), 1568, 2691),
        ((8000, 28), 56, 92),
        ((1, 20_000), 56, 92),
        (None, 1568, 4784),
    ],
)  # fmt: skip
def test_tokens_follow_the_tier(size: Size | None, standard: int, large: int) -> None:
    """An image costs one token per patch of 28 pixels after scaling to the model's tier, and at most the tier's cap."""
    assert standard == tokens_of(size, tokenizer_of("claude-opus-4-6"))
    assert large == tokens_of(size, tokenizer_of("claude-opus-5"))
