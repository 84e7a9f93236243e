# SPDX-License-Identifier: GPL-2.0-or-later
"""What keeps a measurement from being made, as a sentence for the person who wanted it."""

from __future__ import annotations


class BenchError(Exception):
    """The run could not be made; the text says why and what to do."""


class WrongOption(BenchError):
    """What was asked for is no run."""


class RunFailed(BenchError):
    """The run began and broke off: a worker died, or calls did not come up. Fewer calls may go."""
