"""What requests will use, by what earlier ones did: the amounts that are held, corrected by every exact settlement."""

import time
from collections import OrderedDict

from gateway.core.estimate import Estimate
from gateway.core.exchange import Exchange, Expected
from gateway.core.judge import UNBOUNDED_OUTPUT, Asked
from gateway.core.learn import Learning
from gateway.core.weigh import Weighed

# A thread is dropped five minutes after its last use (fact sheet 7), so this many are more than ever go on.
MOST_THREADS = 10_000


class Forecast:
    """Expects before the call and learns after it.

    The body of a continued message thread holds only what is new: what Claude holds of it is known from the answer that
    it goes on from, when this process relayed that one. Else the new part alone is held and the settlement corrects it.
    """

    def __init__(self, learning: Learning | None = None) -> None:
        self.learning = learning or Learning()
        self._threads: OrderedDict[str, int] = OrderedDict()  # message id → tokens that a continuation will read

    def expect(self, x: Exchange, asked: Asked | None) -> Expected:
        """The amounts to hold. Of a batch, and of a request without a model of its own, the bare estimate."""
        if asked is None or x.team is None:
            return Expected()
        now, team, model = time.time(), x.team.name, x.policy.canonical(asked.model)
        counted, output = asked.input, float(min(asked.most_output, UNBOUNDED_OUTPUT))
        cached = 0.0
        if (weighed := asked.weighed) is not None:
            counted = self.learning.input_tokens(team, model, self._estimate(weighed), now=now)
            cached = counted * self.learning.cached_share(team, model, weighed.cacheable, now=now)
            output = self.learning.output_tokens(team, model, weighed.max_tokens, now=now)
        return Expected(
            input=max(0, round(counted - cached)),
            input_at_least=int(min(asked.surely, counted) if not cached else 0),
            prompt=round(counted),
            output=int(output),
            output_at_most=asked.most_output,
            web_searches=asked.searches,
            fast=asked.fast,
            us=asked.us,
        )

    def _estimate(self, weighed: Weighed) -> Estimate:
        remembered = self._threads.get(weighed.previous_message_id, 0) if weighed.previous_message_id else 0
        return weighed.input(remembered=remembered)

    def _remember(self, id: str, tokens: int) -> None:
        self._threads[id] = tokens
        if len(self._threads) > MOST_THREADS:
            self._threads.popitem(last=False)

    def learn(self, x: Exchange) -> None:
        """Take a finished exchange as a sample, if Claude itself said what it used."""
        asked, usage = x.asked, x.usage
        if asked is None or asked.weighed is None or usage is None or usage.estimated or x.team is None:
            return
        now, team, model = time.time(), x.team.name, x.policy.canonical(asked.model)
        run = usage.top()
        if asked.weighed.thread and usage.message_id:
            self._remember(usage.message_id, run.prompt + run.output)
            if asked.weighed.thread == "continue" and asked.weighed.previous_message_id not in self._threads:
                return  # most of its input was not in its body: it teaches nothing of estimates
        if not asked.weighed.grows and not usage.iterations:  # else the input may have grown while the call ran
            if x.expected.prompt and not x.expected.counted:
                x.estimate_ratio = run.prompt / x.expected.prompt
            self.learning.observe_input(
                team, model, self._estimate(asked.weighed), run.prompt,
                cacheable=asked.weighed.cacheable, cached=run.cache_read, now=now,
            )  # fmt: skip
        if run.output:
            self.learning.observe_output(team, model, run.output, now=now)
