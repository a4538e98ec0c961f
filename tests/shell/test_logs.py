"""What a library says reaches the log by its name alone: aiohttp and asyncio put raw requests into their messages."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from gateway import logs


@pytest.fixture
def output() -> Iterator[io.TextIOWrapper]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield io.TextIOWrapper(io.BytesIO())
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_words_of_a_library_stay_out(output: io.TextIOWrapper) -> None:
    """Neither its message, its arguments nor its traceback is written, at any level."""
    logs.configure("debug", output)
    try:
        raise ValueError("MARKER in a fault")
    except ValueError:
        logging.getLogger("aiohttp.server").exception("MARKER in %s", "MARKER of an argument")
    logging.getLogger("asyncio").debug("MARKER below a warning")

    output.seek(0)
    lines = [json.loads(line) for line in output]
    del lines[0]["time"]
    assert lines == [
        {
            "event": "library",
            "level": "warning",
            "library": "aiohttp.server",
            "severity": "ERROR",
            "fault": "ValueError",
        }
    ]
