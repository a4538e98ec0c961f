"""The size of an image from its first bytes, and what it costs: PNG, GIF, WebP and JPEG headers, no imaging library.

A header decides an estimate only, so anything odd is "unknown" and never an error.
"""

from binascii import Error, a2b_base64
from struct import unpack_from

from gateway.core.tokenizers import Tokenizer

Size = tuple[int, int]

PATCH = 28  # pixels a side; one patch is one token
# Base64 characters to look at in turn. All but JPEG need 40; a JPEG's size stands behind its EXIF and colour segments.
HEADS = (64, 4096, 131_072, 1_048_576)


def size_of_base64(text: memoryview) -> Size | None:
    """Width and height of an image, from base64 as it stands in raw JSON."""
    for head in HEADS:
        chars = bytes(text[:head]).replace(b"\\/", b"/")  # some encoders escape the slash
        try:
            data = a2b_base64(chars[: len(chars) // 4 * 4])
        except Error:
            return None
        size = size_of(data)
        if size is not None or len(text) <= head or data[:2] != b"\xff\xd8":
            return size
    return None


def size_of(data: bytes) -> Size | None:
    """Width and height from the first bytes of an image, None when they do not tell."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        size = unpack_from(">II", data, 16) if len(data) >= 24 else (0, 0)
    elif data.startswith((b"GIF87a", b"GIF89a")):
        size = unpack_from("<HH", data, 6) if len(data) >= 10 else (0, 0)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        size = _webp(data)
    elif data[:2] == b"\xff\xd8":
        size = _jpeg(data)
    else:
        return None
    width, height = size
    return (width, height) if width > 0 and height > 0 else None


def tokens_of(size: Size | None, tokenizer: Tokenizer) -> int:
    """One token for each patch after scaling to the model's tier; the tier's most when the size is unknown.

    1000 x 1000 pixels: 36 x 36 = 1296.
    """
    if size is None:
        return tokenizer.image_tokens
    width, height = size
    scale = min(1.0, tokenizer.image_edge / max(width, height))
    across = max(1, -int(-width * scale // PATCH))
    down = max(1, -int(-height * scale // PATCH))
    return min(across * down, tokenizer.image_tokens)


def _webp(data: bytes) -> Size:
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L" and len(data) >= 25 and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(data) >= 30 and data[23:26] == b"\x9d\x01\x2a":
        width, height = unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def _jpeg(data: bytes) -> Size:
    """Walk the segments to the frame header; each is FF, a marker, a length that counts itself."""
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = unpack_from(">HH", data, place + 5)
            return width, height
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # markers without a length
            place += 2
        else:
            length = int.from_bytes(data[place + 2 : place + 4], "big")
            place += 2 + max(length, 2)
    return 0, 0
