"""Cuts a server-sent event stream into events, and knows at each moment whether one is open.

Rule: memory is bounded by `MOST_EVENT` whatever the upstream sends; of a larger event only the head is kept.
Line ends of every kind (LF, CR, CRLF) are made LF first, at C speed, so that one blank line is one search.
"""

from typing import Final, NamedTuple

MOST_EVENT: Final = 1 << 20  # the events that are read hold a few KiB; a tool's result may hold megabytes
_HEAD: Final = 4096
_BOM: Final = b"\xef\xbb\xbf"


class Large(NamedTuple):
    """An event that was too long to keep: its beginning and its whole size."""

    head: bytes
    size: int


class EventReader:
    """Takes chunks, gives the events that they complete. Each event ends with its blank line."""

    __slots__ = ("_cr", "_lf", "_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # of the open event; a large one's are its head and its last bytes
        self._size = 0  # of the open event, 0 at a border
        self._lf = False  # the open event's last byte ends a line
        self._cr = False  # the last byte was CR: an LF that follows belongs to it

    def feed(self, chunk: bytes) -> list[bytes | Large]:
        if self._cr or b"\r" in chunk:
            chunk = self._unify(chunk)
        events: list[bytes | Large] = []
        size = len(chunk)
        position = 0
        if self._size and size:
            if self._lf and chunk[0] == 10:
                position = 1
            else:
                # One byte is sought a hundred times as fast as two; so a line of megabytes costs next to nothing.
                position = chunk.find(b"\n\n") + 2 if b"\n" in chunk else 1
                if position == 1:
                    self._keep(chunk)
                    return events
            events.append(self._close(chunk[:position]))
        while position < size:
            if chunk[position] == 10:  # a blank line where no event is open
                position += 1
                continue
            end = chunk.find(b"\n\n", position) + 2
            if end == 1:
                self._keep(chunk[position:] if position else chunk)
                break
            events.append(chunk[position:end])
            position = end
        if size > MOST_EVENT:  # whole in one chunk or not, a large event is the same to the reader of it
            events = [Large(e[:_HEAD], len(e)) if type(e) is bytes and len(e) > MOST_EVENT else e for e in events]
        return events

    def _unify(self, chunk: bytes) -> bytes:
        if self._cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._cr = False
        if chunk:
            self._cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _keep(self, part: bytes) -> None:
        self._pieces.append(part)
        self._size += len(part)
        self._lf = part.endswith(b"\n")
        if self._size > MOST_EVENT:
            head = b"".join(self._pieces[:-1])[:_HEAD]
            self._pieces = [(head + part[:_HEAD])[:_HEAD], (head + part[-4:])[-4:]]

    def _close(self, part: bytes) -> bytes | Large:
        self._pieces.append(part)
        self._size += len(part)
        event = self.rest()
        self._pieces = []
        self._size = 0
        return event

    def rest(self) -> bytes | Large:
        """The open event so far, empty at a border."""
        whole = b"".join(self._pieces)
        return whole if self._size <= MOST_EVENT else Large(whole[:_HEAD], self._size)

    @property
    def at_border(self) -> bool:
        """No event is open: what is appended now begins an event of its own."""
        return not self._size

    def tail_for_error(self) -> bytes:
        """What to write before an error event so that the open, broken event is not dispatched by itself.

        It joins the error event instead, whose name wins: nothing at a border or a line's end, else a line's end.
        A character cut in two is filled up first: a client that decodes line by line would die of it and never
        see the error.
        """
        if self.at_border or self._lf:
            return b""
        return _rest_of_character(b"".join(self._pieces[-4:])[-4:]) + b"\n"


# What can complete a character: continuation bytes, the first of which some lead bytes want high.
_FILLS = (b"", b"\x80", b"\x80\x80", b"\x80\x80\x80", b"\xa0\x80", b"\x90\x80\x80")


def _rest_of_character(tail: bytes) -> bytes:
    """The bytes that complete a UTF-8 character which the end of `tail` only begins."""
    begun = next((tail[-n:] for n in (1, 2, 3) if len(tail) >= n and tail[-n] >= 0xC0), b"")
    return next((fill for fill in _FILLS if _is_text(begun + fill)), b"")


def _is_text(part: bytes) -> bool:
    try:
        part.decode()
    except UnicodeDecodeError:
        return False
    return True


def fields(event: bytes) -> tuple[bytes, bytes]:
    """An event's name and data, both empty when it has none (a comment)."""
    name = b""
    data: list[bytes] = []
    for line in event.removeprefix(_BOM).split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return name, b"\n".join(data)
