"""The way to Claude: attempts, the key pool, rests and breakers, failover.

`Upstream.send` gives the answer that is worth relaying. What it decides stands in core/overload/.
"""

from gateway.upstream.sending import Upstream

__all__ = ["Upstream"]
