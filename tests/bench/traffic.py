"""What a company's clients do to a gateway: calls of every kind, faults asked for, clients that leave, and repeats.

Every try carries a mark of its own in `x-claude-code-session-id`: the gateway logs it, the simulator's bill shows it.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec

from gateway.core.http import Headers, Origin, Outgoing, Timeouts, UpstreamFailed
from gateway.wire.client import HttpClient
from gateway.wire.pool import PoolLimits

# Faults that answer, or end an answer, and what each is asked with. Retry-after 0, so that no lane rests for long.
SOUND = (
    "rate_limited=0", "rate_limited_bare", "ramp=0", "spend_cap", "contract_cap", "billing", "overloaded=0",
    "unavailable=0", "error", "timeout", "html_502", "status=520", "overloaded_event",
    "slow_first_byte=0.05", "slow_drip=0.002", "gzip", "early_hints",
)  # fmt: skip
BROKEN = (
    "empty_200", "error_event=0", "error_event=4", "reset", "reset=3", "cut=0", "cut=3", "cut=9", "cut=200b",
    "stall=2", "stall=60b",
)  # fmt: skip
# These put a key or a workspace out of service, so they strike a workspace of their own.
DOOMED = ("key_revoked", "key_scope", "usage_limit=workspace")

_TIMEOUTS = Timeouts(connect=2.0, first_byte=15.0, idle=15.0)
_REPEATED = frozenset((408, 409, 429, 500, 502, 503, 504, 520, 529))
_TEXT = "The quick brown fox jumps over the lazy dog and thinks about budgets. "


@dataclass(frozen=True, slots=True)
class Mix:
    """How often things go wrong, of all calls."""

    faults: float = 0.05
    kinds: Sequence[str] = SOUND + BROKEN
    leave: float = 0.05  # clients that leave before the end
    doomed: float = 0.002
    unmetered: float = 0.005  # /v1/complete, whose format has no usage
    repeats: int = 2


@dataclass(slots=True)
class Call:
    """One thing a client wants."""

    mark: str
    key: str
    target: str
    body: bytes
    headers: Headers
    leave_before_head: float | None = None  # seconds
    leave_after: int | None = None  # bytes of the body


@dataclass(slots=True)
class Try:
    """One request of a client, and how it ended for the client."""

    mark: str
    place: int  # which gateway
    target: str
    began: float = 0.0
    status: int = 0
    id: str = ""  # x-gateway-request-id
    broke: str = ""
    left: bool = False


@dataclass(slots=True)
class Log:
    """Everything the clients saw."""

    tries: list[Try] = field(default_factory=list)
    calls: int = 0


def calls(count: int, mix: Mix, *, seed: int, keys: Sequence[str], doomed_key: str, prefix: str) -> Iterator[Call]:
    """The same calls for the same seed."""
    dice = random.Random(seed)
    for number in range(count):
        call = _call(dice, f"{prefix}{number}", dice.choice(keys), mix)
        if dice.random() < mix.doomed:
            call.key = doomed_key
            call.headers.append((b"x-simulator-fault", dice.choice(DOOMED).encode()))
        elif dice.random() < mix.faults:
            call.headers.append((b"x-simulator-fault", dice.choice(mix.kinds).encode()))
        elif dice.random() < mix.leave:
            if dice.random() < 0.4:
                call.leave_before_head = dice.random() * 0.03
            else:
                call.leave_after = dice.randrange(1, 3000)
        yield call


def _call(dice: random.Random, mark: str, key: str, mix: Mix) -> Call:
    roll = dice.random()
    asks = [f"output={dice.randrange(4, 90)}"]
    text = _TEXT * dice.randrange(1, 12) + mark
    body: dict[str, object] = {
        "model": dice.choice(MODELS),
        "max_tokens": 512,
        "messages": [{"role": "user", "content": text}],
    }
    target = "/v1/messages"
    betas: list[str] = []
    if dice.random() < 0.55:
        body["stream"] = True
    if roll < mix.unmetered:
        target = "/v1/complete"
        body = {"model": "claude-opus-4-8", "max_tokens_to_sample": 64, "prompt": f"\n\nHuman: {text}\n\nAssistant:"}
    elif roll < 0.03:
        target = "/v1/messages/count_tokens"
        body = {"model": body["model"], "messages": body["messages"]}
    elif roll < 0.10:
        target = "/v1/chat/completions"
        if body.get("stream"):
            body["stream_options"] = {"include_usage": True}
    elif roll < 0.25:
        cached = {
            "type": "text",
            "text": _TEXT * (120 + 40 * dice.randrange(4)),
            "cache_control": {"type": "ephemeral"},
        }
        if dice.random() < 0.3:
            cached["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
        body["system"] = [cached]
    elif roll < 0.30:
        body["tools"] = [{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}]
        asks.append(f"search={dice.randrange(1, 4)}")
    elif roll < 0.36:
        body["model"] = "claude-opus-5"
        body["fallbacks"] = [{"model": "claude-sonnet-5"}]
        betas.append("server-side-fallback-2026-07-01")
        asks.append(dice.choice(("refusal", "declined=9", "late_refusal")))
    elif roll < 0.39:
        asks.append(dice.choice(("refusal", "late_refusal", "pause", "pings=3")))
    elif roll < 0.42:
        body |= {"model": "claude-opus-5", "inference_geo": "us"}
    headers: Headers = [
        (b"content-type", b"application/json"),
        (b"anthropic-version", b"2023-06-01"),
        (b"x-simulator-answer", ",".join(asks).encode()),
    ]
    if betas:
        headers.append((b"anthropic-beta", ",".join(betas).encode()))
    return Call(mark, key, target, msgspec.json.encode(body), headers)


MODELS = (
    "claude-opus-5", "claude-opus-5", "claude-haiku-4-5", "claude-haiku-4-5-20251001", "claude-sonnet-5",
    "claude-sonnet-4-5", "claude-haiku-5-5", "claude-opus-4-8", "claude-sonnet-5-5",
)  # fmt: skip


class Clients:
    """A crowd of clients in front of the gateways; `addresses` may change while a gateway is restarted."""

    def __init__(self, addresses: Callable[[], Sequence[int]], log: Log) -> None:
        self._addresses = addresses
        self._log = log
        self._http = HttpClient(limits=PoolLimits())
        self._turn = 0

    async def close(self) -> None:
        await self._http.close()

    async def run(
        self,
        todo: Iterator[Call],
        *,
        at_once: int,
        repeats: int,
        progress: Callable[[int], None],
        seconds: float = 600.0,
    ) -> None:
        """Work through the calls; when the time is up none is begun any more."""
        deadline = time.monotonic() + seconds

        async def worker() -> None:
            for call in todo:
                if time.monotonic() > deadline:
                    return
                await self._persist(call, repeats)
                self._log.calls += 1
                progress(self._log.calls)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())

    async def _persist(self, call: Call, repeats: int) -> None:
        for attempt in range(repeats + 1):
            one = await self._once(call, f"{call.mark}.{attempt}")
            if one.left or (one.status not in _REPEATED and not one.broke):
                return
            await asyncio.sleep(0.05 * (attempt + 1))

    async def _once(self, call: Call, mark: str) -> Try:
        self._turn += 1
        ports = self._addresses()
        place = self._turn % len(ports)
        one = Try(mark, place, call.target)
        self._log.tries.append(one)
        out = Outgoing(
            "POST",
            Origin("http", "127.0.0.1", ports[place]),
            call.target.encode(),
            [*call.headers, (b"x-api-key", call.key.encode()), (b"x-claude-code-session-id", mark.encode())],
            call.body,
        )
        try:
            async with asyncio.timeout(call.leave_before_head):
                answer = await self._http.open(out, _TIMEOUTS)
        except TimeoutError:
            one.left = True
            return one
        except UpstreamFailed as failed:
            one.broke = f"{failed.stage} {failed.fault}"
            return one
        one.status = answer.status
        one.id = next((v.decode() for k, v in answer.headers if k.lower() == b"x-gateway-request-id"), "")
        size = 0
        try:
            while chunk := await answer.read():
                size += len(chunk)
                if call.leave_after is not None and size >= call.leave_after:
                    one.left = True
                    break
        except UpstreamFailed as failed:
            one.broke = f"{failed.stage} {failed.fault}"
        finally:
            answer.close()
        return one


async def create_batch(port: int, key: str, number: int) -> int:
    """A batch of a few requests on two models; the answer's status."""
    requests = [
        {
            "custom_id": f"r{n}",
            "params": {
                "model": MODELS[(number + n % 2) % len(MODELS)],
                "max_tokens": 100,
                "messages": [{"role": "user", "content": f"{_TEXT * (n + 1)} {number}"}],
            },
        }
        for n in range(1 + number % 7)
    ]
    headers = [(b"content-type", b"application/json"), (b"anthropic-version", b"2023-06-01")]
    client = HttpClient()
    try:
        out = Outgoing(
            "POST", Origin("http", "127.0.0.1", port), b"/v1/messages/batches",
            [*headers, (b"x-api-key", key.encode())], msgspec.json.encode({"requests": requests}),
        )  # fmt: skip
        answer = await client.open(out, _TIMEOUTS)
        while await answer.read():
            pass
        answer.close()
        return answer.status
    finally:
        await client.close()


def port_of(url: str) -> int:
    return urlsplit(url).port or 80
