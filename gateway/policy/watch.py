"""Follows the files of a policy and loads it again when one of them changes, or on SIGHUP.

The rule: what counts is the content, compared with the digest of what the last attempt really read. So neither a clock,
nor a coarse mtime, nor a change between two reads can hide a change, and a directory swapped under a symlink looks like
any other change. A change must stand still for one poll before it is loaded: half a file may well be sound YAML with
half of the teams. The caller keeps its policy when it is handed faults.
"""

import asyncio
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from gateway.policy.faults import Fault, PolicyFaults
from gateway.policy.load import Loaded
from gateway.policy.sources import digest_of

Outcome = Loaded | PolicyFaults
Prints = Mapping[Path, bytes]

POLL_SECONDS = 0.25
# A file that changes at every poll (somebody writes it in a loop) is loaded after so many of them all the same.
_MOST_RESTLESS_POLLS = 8


class Settling:
    """Decides poll by poll whether to load: the files differ from what was loaded, and have come to rest."""

    def __init__(self, loaded: Prints) -> None:
        self._loaded = loaded
        self._seen = loaded
        self._restless = 0

    def ready(self, prints: Prints) -> bool:
        if prints == self._loaded:  # also when a file was away for a moment and came back
            self._seen, self._restless = prints, 0
            return False
        self._restless += 1
        at_rest = prints == self._seen
        self._seen = prints
        return at_rest or self._restless > _MOST_RESTLESS_POLLS


class Watch:
    """`first` loads for the start of the process; `run` is the task that follows the files from then on."""

    def __init__(self, load: Callable[[], Loaded], *, also: Iterable[Path] = (), poll: float = POLL_SECONDS) -> None:
        """`load` is called in a thread; `also` are files that it reads besides the policy's own, such as `.env`."""
        self._load = load
        self._also = tuple(also)
        self._poll = poll
        self._wanted = asyncio.Event()
        self._settling = Settling({})
        self._files: tuple[Path, ...] = self._also

    def first(self) -> Loaded:
        """Loads once, now; raises `PolicyFaults`."""
        outcome = self._attempt()
        if isinstance(outcome, PolicyFaults):
            raise outcome
        return outcome

    def ask(self) -> None:
        """Load at the next turn, changed or not. To be called on the loop; SIGHUP does."""
        self._wanted.set()

    async def run(self, changed: Callable[[Outcome], None]) -> None:
        """Polls until it is cancelled; `changed` is called on the loop, once for each attempt.

        Both the poll and the load run in a thread: a poll is short (see docs) but a network file system may hang.
        """
        loop = asyncio.get_running_loop()
        handles_signal = _handle_hangup(loop, self.ask)
        try:
            while True:
                asked = await self._turn()
                if asked or self._settling.ready(await asyncio.to_thread(_prints, self._files)):
                    changed(await asyncio.to_thread(self._attempt))
        finally:
            if handles_signal:
                loop.remove_signal_handler(signal.SIGHUP)

    async def _turn(self) -> bool:
        try:
            await asyncio.wait_for(self._wanted.wait(), self._poll)
        except TimeoutError:
            return False
        self._wanted.clear()
        return True

    def _attempt(self) -> Outcome:
        before = _prints(self._files)
        outcome: Outcome
        try:
            outcome = self._load()
        except PolicyFaults as faults:
            outcome = faults
        except Exception as error:  # noqa: BLE001 - a defect of ours must not end the watch; its text may hold a secret
            outcome = PolicyFaults([Fault("policy", 0, "", f"could not be loaded: {type(error).__name__}")], before)
        # Only what this attempt read matters: until that changes, another attempt would end alike.
        loaded = {**outcome.sources, **{file: before[file] for file in self._also}}
        self._files = tuple(loaded)
        self._settling = Settling(loaded)
        return outcome


def _prints(files: Iterable[Path]) -> dict[Path, bytes]:
    return {file: digest_of(file) for file in files}


def _handle_hangup(loop: asyncio.AbstractEventLoop, ask: Callable[[], None]) -> bool:
    """False where signals can't be had: Windows, or a loop outside the main thread, as in tests."""
    try:
        loop.add_signal_handler(signal.SIGHUP, ask)
    except (AttributeError, NotImplementedError, RuntimeError, ValueError):
        return False
    return True
