"""PDF pages: counted where they can be seen, guessed where they can't."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.documents import BYTES_PER_PAGE, MOST_PAGES, STEP, pages_of_base64
from gateway.core.json_skim import finish


def pages(data: bytes) -> tuple[int, bool]:
    return finish(pages_of_base64(memoryview(base64.b64encode(data))))


def plain_pdf(number: int, filler: bytes = b"") -> bytes:
    page = b"1 0 obj << /Type /Page /Parent 2 0 R >> endobj\n" + filler
    return b"%PDF-1.4\n" + page * number + b"2 0 obj << /Type /Pages /Count 77 >> endobj"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(plain_pdf(3), (3, False), id="page objects"),
        pytest.param(plain_pdf(1).replace(b"/Type /Page ", b"/Type/Page\n"), (1, False), id="without blanks"),
        pytest.param(b"%PDF-1.7 << /Type /Pages /Kids [] /Count 12 >>", (12, False), id="page tree alone"),
        pytest.param(b"%PDF-1.7 << /Linearized 1 /L 9 /H [1 2] /O 5 /N 31 >>", (31, False), id="linearized"),
        pytest.param(b"<< /Count 4 >> << /Count 9 >> << /Count 5 >>", (9, False), id="the root of several trees"),
        pytest.param(b"%PDF-1.7 " + b"\xff" * 3 * BYTES_PER_PAGE, (3, True), id="compressed"),
        pytest.param(b"%PDF-1.7", (1, True), id="at least one page"),
        pytest.param(b"<< /Count 999999 >>", (1, True), id="an absurd number"),
        pytest.param(b"\xff" * BYTES_PER_PAGE * (MOST_PAGES + 9), (MOST_PAGES, True), id="at most what is allowed"),
        pytest.param(b"", (1, True), id="empty"),
    ],
)
def test_pages(data: bytes, expected: tuple[int, bool]) -> None:
    """Page objects count first, then the page tree's number, then the size."""
    assert expected == pages(data)


@pytest.mark.parametrize("shift", range(0, 64, 3))
def test_a_page_across_two_steps_counts_once(shift: int) -> None:
    """The border of a decoding step neither hides nor doubles a page."""
    border = STEP // 4 * 3
    filler = b"x" * (border - 9 - 20 - shift)
    data = b"%PDF-1.4\n" + filler + b"<< /Type /Page /A 1 >> " * 3 + b"y" * border + b"<< /Type /Page >>"

    assert (4, False) == pages(data)


def test_line_ends_and_slashes_in_base64_are_no_obstacle() -> None:
    """Base64 as MIME encoders and some JSON encoders write it is read."""
    written = base64.encodebytes(plain_pdf(40, b"?" * 33)).replace(b"\n", b"\\n").replace(b"/", b"\\/")

    assert (40, False) == finish(pages_of_base64(memoryview(written)))


@given(st.binary(max_size=400))
def test_any_text_has_a_number_of_pages(text: bytes) -> None:
    """What is not base64 and not a PDF is at least one page and never an error."""
    number, _ = finish(pages_of_base64(memoryview(re.sub(rb'["\\]', b"", text))))

    assert 1 <= number <= MOST_PAGES
