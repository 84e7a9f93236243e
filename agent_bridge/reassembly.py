# SPDX-License-Identifier: MIT
"""Cut a byte stream into messages, whatever the sizes in which it arrives.

A message that lies whole in the caller's bytes is handed out as a view of them,
without a copy: at 2,000 calls one read brings 200 KB, and nearly all of it is
audio that is copied once more anyway, into its queue.  A message that is cut
is collected in a buffer of its own.  Each byte is copied there at most once, and
the buffer grows with what really arrives, never with what a header promises, so a
peer that announces 4 MiB and falls silent holds no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

Buffer = bytes | bytearray | memoryview


class ProtocolViolation(Exception):
    """The peer broke the protocol; the text says how. Never leaves the sans-I/O classes."""


class Reassembler:
    """Messages out of chunks, for any format whose fixed-size header tells the length."""

    def __init__(self, header_bytes: int, parse_header: Callable[[memoryview], tuple[int, int]]) -> None:
        """`parse_header` gets exactly `header_bytes` and returns (kind, payload bytes), or raises."""
        self._header_bytes = header_bytes
        self._parse_header = parse_header
        self._pending = bytearray()

    @property
    def pending_bytes(self) -> int:
        """Bytes of a message that is not complete yet."""
        return len(self._pending)

    def messages(self, data: Buffer) -> Iterator[tuple[int, memoryview]]:
        """Yield (kind, payload) of each message that `data` completes.

        A payload is a view, of `data` or of a buffer that is not used again.  The
        iterator must be run to its end, unless the connection is given up.
        """
        view = memoryview(data)
        start = 0
        if self._pending:
            start = self._complete(view)
            message = self._take_pending()
            if message is None:
                return
            yield message
        while len(view) - start >= self._header_bytes:
            body = start + self._header_bytes
            kind, size = self._parse_header(view[start:body])
            if body + size > len(view):
                break
            yield kind, view[body : body + size]
            start = body + size
        self._pending += view[start:]

    def _complete(self, view: memoryview) -> int:
        """Move what the pending message lacks from `view`; returns how much was taken."""
        missing = self._header_bytes - len(self._pending)
        taken = max(0, min(missing, len(view)))
        self._pending += view[:taken]
        if len(self._pending) < self._header_bytes:
            return taken
        missing = self._header_bytes + self._pending_size()[1] - len(self._pending)
        more = min(missing, len(view) - taken)
        self._pending += view[taken : taken + more]
        return taken + more

    def _pending_size(self) -> tuple[int, int]:
        return self._parse_header(memoryview(bytes(self._pending[: self._header_bytes])))

    def _take_pending(self) -> tuple[int, memoryview] | None:
        if len(self._pending) < self._header_bytes:
            return None
        kind, size = self._pending_size()
        if len(self._pending) < self._header_bytes + size:
            return None
        whole, self._pending = self._pending, bytearray()
        return kind, memoryview(whole)[self._header_bytes :]
