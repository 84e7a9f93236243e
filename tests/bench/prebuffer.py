# SPDX-License-Identifier: GPL-2.0-or-later
"""Agents whose chunks come unevenly: how often the caller hears a hole, and what it costs to hear fewer.

    python -m bench.prebuffer [--calls 6] [--utterances 40]

Every call is a pattern of arrivals with its own seed, in virtual time (support/bursty_agents.py).  `fixed` waits
so long before every talkspurt; `adaptive` is the default: it learns from each call as it goes.
"""

from __future__ import annotations

import argparse

import numpy as np

from bench.tables import table as text_table
from support.bursty_agents import PATTERNS, Bursty

POLICIES: dict[str, dict[str, object]] = {
    "fixed 5 ms": {"prebuffer_ms": 0},
    "fixed 60 ms": {"prebuffer_ms": 60},
    "fixed 200 ms": {"prebuffer_ms": 200},
    "adaptive": {},
}


def main() -> None:
    """Program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=6)
    parser.add_argument("--utterances", type=int, default=40)
    options = parser.parse_args()
    rows = []
    for name, pattern in PATTERNS.items():
        for policy, agent in POLICIES.items():
            seen = Bursty(pattern, options.calls, options.utterances, **agent).run()
            delays = np.percentile(seen.delays_ms, (50, 95))
            each = seen.utterances
            minutes = seen.spoken_ms / 60_000
            rows.append([name, policy, seen.underruns / minutes, seen.missing_ms / each, *delays.tolist()])
    head = ["chunks arrive", "prebuffer", "underruns/min", "missing ms", "delay ms", "p95"]
    title = "Holes per minute of speech, what is missing per utterance, and from the first chunk to the first packet"
    print(text_table(title, head, rows))


if __name__ == "__main__":
    main()
