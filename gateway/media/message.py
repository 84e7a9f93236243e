# SPDX-License-Identifier: GPL-2.0-or-later
"""Base of the messages between the gateway process and a media worker (`control.py`)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Message(msgspec.Struct, frozen=True, tag_field="type", tag=True):
    """The class name is the tag on the wire."""


Post = Callable[[Message], None]
"Sends a message to the other process."
