"""What a journal keeps, whatever the disk, the process or a stray hand does to it."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.core.plan import Entry, Opened, Part, Plan, Spend, Take, blank_entry
from gateway.store import journal as journal_module
from gateway.store.adopt import abandoned
from gateway.store.journal import KEEP_SECONDS, Journal, prune, read_lines
from tests.store.conftest import Heard
from tests.store.disk import full

SPEND = Spend("month", "UTC", 10, 1, 5, 24323, 0, 1, 2)
PLAN = Plan([Part("team:a", [Take("tokens|*", 1, 60, 3600000, 5)], [SPEND])], "a", "k", "m", "messages", 5, leased=True)


def entry(n: int, hold: str | None = None) -> Entry:
    return Entry(n, hold or f"h{n}", 1_795_000_000_000, PLAN, input=3, nano=2, usage={"input": 3})


def opened(hold: str, *, leased: bool = True) -> Opened:
    plan = Plan(PLAN.parts, "a", "k", "m", "messages", 5, leased=leased)
    return Opened(hold, 1_795_000_000_000, plan)


class Retries:
    """Stands in for `loop.call_later`."""

    def __init__(self) -> None:
        self.due: list[Callable[[], object]] = []

    def __call__(self, seconds: float, what) -> None:
        self.due.append(what)

    def run(self) -> None:
        due, self.due = self.due, []
        for what in due:
            what()


@pytest.fixture
def retries() -> Retries:
    return Retries()


@pytest.fixture
def journal(tmp_path: Path, heard: Heard, retries: Retries) -> Journal:
    made = Journal(tmp_path, "w1", observer=heard, retry=retries)
    made.open()
    return made


def lines(directory: Path) -> list[object]:
    return [line for path in sorted(directory.glob("*.jsonl*")) for line in read_lines(path)]


def test_one_write_per_flush(journal: Journal, tmp_path: Path, monkeypatch):
    """What a loop turn appended goes to the disk in one write(2), whole lines only, and reads back as it was."""
    writes: list[int] = []
    write = os.write

    def noted(file: int, data: bytes) -> int:
        writes.append(len(data))
        return write(file, data)

    monkeypatch.setattr(os, "write", noted)
    expected: list[Entry | Opened] = [opened("h1"), entry(1), entry(2)]
    for line in expected:
        journal.append(line)
    journal.flush()
    journal.flush()

    assert 1 == len(writes)
    assert expected == lines(tmp_path)


def test_a_torn_last_line_was_never_acted_on(journal: Journal, tmp_path: Path):
    """A process killed in the middle of a write leaves a line without an end: it is not read."""
    journal.append(entry(1))
    journal.append(entry(2))
    journal.flush()
    (path,) = tmp_path.glob("*.jsonl")
    whole = path.read_bytes()
    for cut in {*range(0, len(whole), 7), len(whole) - 1}:
        path.write_bytes(whole[:cut])
        expected = whole[:cut].count(b"\n")
        assert [entry(1), entry(2)][:expected] == lines(tmp_path)


def test_a_damaged_line_becomes_a_blank(journal: Journal, tmp_path: Path, heard: Heard):
    """The numbers after a line that can't be read go on, and the damage is told."""
    for n in (1, 2, 3):
        journal.append(entry(n))
    journal.flush()
    (path,) = tmp_path.glob("*.jsonl")
    broken = path.read_bytes().splitlines(keepends=True)
    broken[1] = b'{"is":"settled","n":2,"ho\x00\n'
    path.write_bytes(b"".join(broken))

    assert [entry(1), blank_entry(2), entry(3)] == list(journal.after(0))
    assert 1 == len(heard.named("journal_damaged"))


@pytest.mark.parametrize("room", [0, 100, 700])
def test_a_full_disk(journal: Journal, tmp_path: Path, heard: Heard, retries: Retries, room: int):
    """Nothing is lost and no half line is left: memory keeps what the disk refused until it takes it, told once."""
    journal.append(entry(1))
    assert journal.flush()
    (path,) = tmp_path.glob("*.jsonl")
    with full(path.stat().st_size + room):
        for n in (2, 3, 4, 5, 6):
            journal.append(entry(n))
        assert not journal.flush()
        assert not journal.flush()
        assert not journal.ok
        assert [entry(1)] == lines(tmp_path)
    retries.run()

    assert journal.flush()
    assert [entry(n) for n in range(1, 7)] == lines(tmp_path)
    assert ["journal_failing", "journal_back"] == [name for name, _ in heard.events]


def test_memory_has_an_end_too(journal: Journal, monkeypatch):
    """Once memory has taken what it may, the journal says that it is full."""
    monkeypatch.setattr(journal_module, "BACKLOG_BYTES", 1000)
    with full():
        for n in range(1, 20):
            journal.append(entry(n))
        journal.flush()

        assert journal.full
    journal.flush()
    assert not journal.full


def test_confirmed_entries_leave_memory_when_the_disk_is_full(journal: Journal, heard: Heard, retries: Retries):
    """What the store has is not needed on disk; holds that only the journal knows of are."""
    with full():
        journal.append(opened("h0"))
        for n in range(1, 2001):
            journal.append(entry(n))
        journal.flush()
        before = journal._pending_bytes
        journal.confirmed(1500)
        assert journal._pending_bytes < before / 2
    retries.run()

    assert [{"seconds": 0.0, "entries_only_in_store": 1500}] == [
        facts | {"seconds": 0.0} for facts in heard.named("journal_back")
    ]


def test_segments(journal: Journal, tmp_path: Path, monkeypatch):
    """Full segments are done when the store has confirmed them, and deleted 7 days after that."""
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 500)
    for n in range(1, 7):
        journal.append(entry(n))
        journal.flush()
    assert [entry(n) for n in range(3, 7)] == list(journal.after(2))
    assert 1 == journal.first()
    journal.confirmed(4)
    done = sorted(tmp_path.glob("*.done"))
    read = [line.n for path in done for line in read_lines(path) if isinstance(line, Entry)]

    assert list(range(1, read[-1] + 1)) == read
    assert read[-1] <= 4
    prune(tmp_path, time.time() + KEEP_SECONDS - 60)
    assert done == sorted(tmp_path.glob("*.done"))
    prune(tmp_path, time.time() + KEEP_SECONDS + 60)
    assert [] == sorted(tmp_path.glob("*.done"))
    assert read[-1] + 1 == journal.first()


class TestAdoption:
    def test_a_living_writer_is_left_alone(self, journal: Journal, tmp_path: Path, heard: Heard):
        """Its lock says that it lives."""
        journal.append(entry(1))
        journal.flush()

        assert [] == list(abandoned(tmp_path, heard))

    def test_a_dead_one_is_taken_over_once(self, journal: Journal, tmp_path: Path, heard: Heard):
        """Its open holds are settled at their estimate under its next numbers, by one adopter, however often."""
        for line in (opened("h1"), opened("h2"), opened("h3", leased=False), entry(1, "h1")):
            journal.append(line)
        journal.flush()
        journal._lock.release()  # what the kernel does for a killed process
        (left,) = abandoned(tmp_path, heard)
        assert [] == list(abandoned(tmp_path, heard))
        crashed = Entry(2, "h2", 1_795_000_000_000, PLAN, nano=5, as_held=True, estimated="crashed")

        assert (1, [opened("h3", leased=False)]) == left.settle_open()
        assert [entry(1, "h1"), crashed] == list(left.after(0))
        left.leave()
        (again,) = abandoned(tmp_path, heard)
        assert (0, [opened("h3", leased=False)]) == again.settle_open()
        assert [crashed] == list(again.after(1))
        again.done()
        assert [] == list(abandoned(tmp_path, heard))
        assert ["w1"] == [left.writer for left in abandoned(tmp_path, heard, finished=True)]

    def test_an_orderly_end_leaves_nothing_to_adopt(self, journal: Journal, tmp_path: Path, heard: Heard):
        """With everything confirmed the segment is done; without, it waits for somebody."""
        journal.append(entry(1))
        journal.close(confirmed=1)

        assert [] == list(abandoned(tmp_path, heard))
        other = Journal(tmp_path, "w2", observer=heard, retry=Retries())
        other.open()
        other.append(entry(1))
        other.close(confirmed=0)
        assert ["w2"] == [left.writer for left in abandoned(tmp_path, heard)]
