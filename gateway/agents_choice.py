# SPDX-License-Identifier: GPL-2.0-or-later
"""Which agents of a route are asked for a call, and in which order. Pure: no clock, no chance, no memory.

`failover` is the order of the list.  `balance` is weighted rendezvous hashing: every agent draws a number from the
key of the call, and the order is by these numbers, weighed.  Over many keys each agent is first as often as its
weight says; one key has the same order for ever, and an agent that leaves takes nobody along but its own calls.
So `sticky = "caller"` needs no memory: the key is the caller, and else the call.

Agents that have failed lately (`avoided`) come last, in the same order among themselves: when all are down, to try
is better than to refuse.  Backup agents come after the others, healthy ones before avoided ones of either.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence

from trunkline.gateway.config.peers import Route


def choose(
    route: Route, weights: Mapping[str, int], avoided: Collection[str], caller: str, call_id: str
) -> list[str]:
    """Names of the route's agents, in the order in which they are asked; all of them, each once."""
    key = caller if route.sticky == "caller" and caller else call_id
    main = route.main_agents if route.agent_policy == "failover" else by_weight(route.main_agents, weights, key)
    order = [*main, *route.backup_agents]
    return [name for name in order if name not in avoided] + [name for name in order if name in avoided]


def by_weight(names: Sequence[str], weights: Mapping[str, int], key: str) -> list[str]:
    """Weighted rendezvous hashing: the first of n agents with equal weights is each for one n-th of all keys."""
    return sorted(names, key=lambda name: (-_score(name, weights.get(name, 1), key), name))


def _score(name: str, weight: int, key: str) -> float:
    """-w / ln(u), u drawn evenly from (0, 1) by name and key: the greatest wins with a chance of w in all weights."""
    digest = hashlib.blake2b(f"{name}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    drawn = (int.from_bytes(digest, "big") + 0.5) / 2**64
    # What rounds to 1 would divide by zero.
    return -weight / math.log(min(drawn, 1 - 2**-53))
