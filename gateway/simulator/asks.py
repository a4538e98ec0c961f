"""What a caller can ask the simulator to answer with, since nobody thinks here.

In the header `x-simulator-answer: WORD, WORD=VALUE`, or in the last user message as `[[simulate WORD WORD=VALUE]]` (the
way for batches and clients that set no headers). `x-simulator-output-tokens: N` is short for `output=N`.

| word         | the answer                                                                               |
|--------------|------------------------------------------------------------------------------------------|
| output=N     | has N output tokens (else 12 to 75, by the prompt)                                       |
| tool[=NAME]  | calls a tool of the request; also "use NAME" or "call NAME" in the last text             |
| refusal      | is refused before any output (not billed); with `fallbacks`, the next model answers      |
| late_refusal | is refused after half of the output (billed)                                             |
| declined=N   | with `fallbacks`: the first model gives N tokens before it declines (billed)             |
| search=N     | does N web searches, if the request offers web_search; `failed_search` one that fails    |
| fetch        | does a web fetch, if offered                                                             |
| file         | writes a downloadable file, if code execution is offered; in a session always            |
| citations    | cites the first document of the prompt                                                   |
| advisor      | asks the advisor, if the request has an advisor tool                                     |
| compaction   | compacts first, if the request allows it                                                 |
| redacted     | begins with redacted thinking                                                            |
| pause        | stops with pause_turn                                                                    |
| stop         | ends with the request's first stop sequence                                              |
| context      | stops because the context window is full                                                 |
| signature=N  | signs its thinking with N characters                                                     |
| pings=N      | sends N pings                                                                            |
| expire       | (in a batch) has expired                                                                 |
| echo         | repeats the last text of the prompt                                                      |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MARKER = re.compile(r"\[\[simulate ([^\]]*)\]\]")
Asks = dict[str, str]


def last_text(body: Mapping[str, Any]) -> str:
    """The last text of the last user message; Claude Code puts a system message after it."""
    contents = [message["content"] for message in body["messages"] if message["role"] == "user"]
    content = contents[-1] if contents else ""
    if isinstance(content, str):
        return content
    texts = [
        block.get("text", "") for block in content or [] if isinstance(block, dict) and block.get("type") == "text"
    ]
    return texts[-1] if texts else ""


def asked(headers: Mapping[str, str], text: str) -> Asks:
    words: list[str] = []
    if "[[simulate" in text:
        words += [word for found in MARKER.findall(text) for word in found.replace(",", " ").split()]
    words += headers.get("x-simulator-answer", "").replace(",", " ").split()
    asks = {name: value for name, _, value in (word.partition("=") for word in words)}
    length = headers.get("x-simulator-output-tokens")
    if length:
        asks["output"] = length
    return asks


def number(asks: Asks, name: str, default: int) -> int:
    value = asks.get(name, "")
    return int(value) if value.isdigit() else default
