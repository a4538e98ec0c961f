"""How many pages a PDF has, from its base64, in steps and without a copy of the whole.

Page objects are counted where they are not compressed, else the page tree's own number is believed, else the size
decides and the number is weak.
"""

import re
from binascii import Error, a2b_base64

from gateway.core.json_skim import Steps

STEP = 512 * 1024  # characters, decoded in about a millisecond
OVERLAP = 64  # bytes, so that a mark across two steps is seen
BYTES_PER_PAGE = 50_000
MOST_PAGES = 600  # of one request

_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_COUNT = re.compile(rb"/Count\s+(\d{1,6})(?!\d)")
_LINEAR = re.compile(rb"/Linearized\b.{0,200}?/N\s+(\d{1,6})(?!\d)", re.DOTALL)


def pages_of_base64(text: memoryview) -> Steps[tuple[int, bool]]:
    """The number of pages, and whether it is only a guess."""
    objects = 0
    stated = 0
    size = 0
    carried = b""
    seen = b""
    for start in range(0, len(text), STEP):
        chars = carried + bytes(text[start : start + STEP]).replace(b"\\/", b"/").replace(b"\\n", b"")
        whole = len(chars) // 4 * 4
        carried = chars[whole:]
        try:
            data = a2b_base64(chars[:whole])
        except Error:
            break
        size += len(data)
        window = seen + data
        # A match that lies in the overlap was counted in the step before, unless the step cut it.
        objects += sum([match.end() > len(seen) for match in _PAGE.finditer(window)])
        stated = max([stated, *[int(number) for number in _COUNT.findall(window)]])
        if start == 0:
            stated = max([stated, *[int(number) for number in _LINEAR.findall(window)]])
        seen = window[-OVERLAP:]
        yield
    pages = objects or stated
    if not 0 < pages <= MOST_PAGES:
        return min(MOST_PAGES, max(1, size // BYTES_PER_PAGE)), True
    return pages, False
