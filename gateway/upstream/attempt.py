"""One attempt: sent, looked into as far as tells what it is, and learned from. It decides nothing."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from gateway.core.exchange import Attempt
from gateway.core.faults import ERROR_BODY_LIMIT, about_our_key, decoded, read_error
from gateway.core.headers import lookup
from gateway.core.http import Answer, Client, Headers, LiveAnswer, Timeouts, UpstreamFailed
from gateway.core.overload.attempts import IDENTITY, Outcome, should_retry
from gateway.core.overload.waits import retry_after
from gateway.core.routes import Repeat
from gateway.platforms.platform import Platform
from gateway.upstream.answers import PassedAnswer, ReadAnswer, held_back, read_up_to
from gateway.upstream.journey import Journey
from gateway.upstream.places import Place, Places
from gateway.upstream.tokens import IdentityRefused, Tokens


@dataclass(slots=True)
class Made:
    """One attempt that ended: what it was, and its answer when there is one."""

    outcome: Outcome
    answer: Answer | None = None
    plain: bytes = b""  # an error's body, readable
    passes: bool = False  # it goes to the client as it comes, and counts as under way until it is closed


class Attempts:
    """Makes them."""

    def __init__(
        self, client: Client, platforms: Mapping[str, Platform], timeouts: Timeouts, places: Places, tokens: Tokens
    ) -> None:
        self._client = client
        self._platforms = platforms
        self._timeouts = timeouts
        self._places = places
        self._tokens = tokens

    async def make(self, journey: Journey, place: Place) -> Made:
        x, draft = journey.x, journey.draft
        attempt = Attempt(place.workspace.name, place.key.name)
        x.attempts.append(attempt)
        began = time.monotonic()
        self._places.pool(place.workspace.name).sent(place.key, began)
        answer: LiveAnswer | None = None
        headers: Headers = []
        sent = False
        try:
            if place.key.federation is not None:
                place.sent = await self._tokens.current(place.key, place.workspace)
            sent = True
            out = self._platforms[place.workspace.platform].prepare(draft, place.workspace, place.sent)
            answer = await self._client.open(out, self._timeouts)
            headers = answer.headers
            attempt.request_id = (lookup(headers, b"request-id") or b"").decode("latin-1")
            made = await self._look(journey, place, answer)
        except UpstreamFailed as error:
            if error.stage == "head":
                x.unanswered = "cut"
            made = Made(Outcome(broken=error))
        except IdentityRefused as error:
            made = Made(Outcome(401, type=IDENTITY, message=str(error), about_key=True))
        except BaseException:
            attempt.outcome = "abandoned"
            x.unanswered = "cancelled" if sent else None
            self._left(place)
            if answer is not None:
                answer.close()
            raise
        finally:
            attempt.seconds = time.monotonic() - began
            x.upstream_seconds += attempt.seconds
        x.upstream_request_id = attempt.request_id
        attempt.outcome = made.outcome.name
        self._places.learn(place, made.outcome, headers, time.monotonic(), time.time())
        if not made.passes:
            self._left(place)
            if made.answer is None and answer is not None:
                answer.close()
        return made

    def _left(self, place: Place) -> None:
        self._places.left(place, time.monotonic())

    async def _look(self, journey: Journey, place: Place, answer: LiveAnswer) -> Made:
        """Read as much of an answer as tells what it is."""
        headers, status = answer.headers, answer.status
        if status < 400:
            held, error = b"", None
            if status == 200 and journey.draft.route.repeat is Repeat.INFERENCE and _is_plain_stream(answer):
                hold = await held_back(answer, journey.draft.route.name, time.monotonic)
                held, error = b"".join(hold.held), hold.error
            if error is None:
                return Made(Outcome(status), PassedAnswer(answer, partial(self._left, place), held), passes=True)
            outcome = Outcome(status, first_event_error=error, should_retry=should_retry(headers))
            return Made(outcome, PassedAnswer(answer, _nobody, held))
        body, whole = await read_up_to(answer, ERROR_BODY_LIMIT)
        plain = decoded(body, lookup(headers, b"content-encoding"))
        type, message, code = read_error(plain)
        outcome = Outcome(
            status,
            complete=whole and type != "",
            type=type,
            message=message,
            code=code,
            retry_after=retry_after(headers, time.time()),
            should_retry=should_retry(headers),
            about_key=about_our_key(status, plain),
        )
        return Made(outcome, ReadAnswer(answer, headers, body, rest=answer), plain)


def _nobody() -> None:
    """A refused attempt has left its lane already."""


def _is_plain_stream(answer: Answer) -> bool:
    if not (lookup(answer.headers, b"content-type") or b"").lower().startswith(b"text/event-stream"):
        return False
    return (lookup(answer.headers, b"content-encoding") or b"identity").strip().lower() == b"identity"
