# SPDX-License-Identifier: GPL-2.0-or-later
"""SRTP's master keys of a run: two a call."""

from __future__ import annotations

import dataclasses

from trunkline.gateway.bench.plan import Plan
from trunkline.rtp.sdes import CryptoKey, new_key


@dataclasses.dataclass(frozen=True, slots=True)
class Keys:
    """SRTP of all calls; empty in the clear."""

    caller: list[CryptoKey] = dataclasses.field(default_factory=list, repr=False)
    "with which each caller sends"
    worker: list[CryptoKey] = dataclasses.field(default_factory=list, repr=False)

    @classmethod
    def of(cls, plan: Plan) -> Keys:
        """New ones."""
        one, other = ([new_key(plan.srtp) for _ in range(plan.calls)] if plan.srtp else [] for _ in range(2))
        return cls(one, other)

    def __bytes__(self) -> bytes:
        """Call after call: the caller's, the worker's."""
        return b"".join(a.master + b.master for a, b in zip(self.caller, self.worker, strict=True))

    def of_call(self, call: int) -> tuple[CryptoKey, CryptoKey] | tuple[None, None]:
        """With which the worker sends, and with which it receives."""
        return (self.worker[call], self.caller[call]) if self.caller else (None, None)
