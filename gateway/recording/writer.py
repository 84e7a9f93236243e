# SPDX-License-Identifier: GPL-2.0-or-later
"""Recordings go to the disk in a thread: a tick hands blocks over and never waits for a file.

What does not fit into memory while a disk is slow is left out and counted; a file that is full, or cannot be
written, ends its recording and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections import deque

from trunkline.gateway.recording import pcapng

MAX_WAITING_BYTES = 16 << 20
"Of all recordings of a process: at 16 kHz a call makes 96 kB a second with RTP, so a disk may stand still for a while."


class Tape:
    """One recording, as the tick has it."""

    def __init__(self, call_id: str, path: str, max_bytes: int, resumed: bool) -> None:
        """`resumed`: the file is there already, and goes on."""
        self.call_id, self.path, self.resumed = call_id, path, resumed
        self.bytes, self.left_out = 0, 0
        self.outcome = "complete"
        "or `limit`, `failed` (`detail` says why)"
        self.detail = ""
        self.over = False
        "nothing more is taken"
        self._max_bytes = max_bytes

    def fits(self, block: bytes) -> bool:
        """Count a block; False when the file is full."""
        if self.bytes + len(block) > self._max_bytes:
            self.outcome, self.over = "limit", True
            return False
        self.bytes += len(block)
        return True


class Writer:
    """The thread; made with the first recording of a process."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Tape, bytes | None] | None] = queue.SimpleQueue()
        self._waiting_bytes, self._written_bytes = 0, 0
        self._pending: dict[Tape, list[bytes]] = {}
        self.done: deque[Tape] = deque()
        "recordings whose file is closed"
        self._files: dict[Tape, int] = {}
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    # --- for the tick ------------------------------------------------------------------------

    def open(self, tape: Tape) -> None:
        """Begin a file, or a section of one."""
        self.put(tape, pcapng.section())

    def put(self, tape: Tape, block: bytes) -> None:
        """One more block; never waits."""
        if tape.over or not tape.fits(block):
            return
        if self._waiting_bytes - self._written_bytes > MAX_WAITING_BYTES:
            tape.left_out += 1
            return
        self._waiting_bytes += len(block)
        self._pending.setdefault(tape, []).append(block)

    def flush(self) -> None:
        """From time to time: what was put goes to the thread, in one piece a file."""
        pending, self._pending = self._pending, {}
        for tape, blocks in pending.items():
            self._queue.put((tape, b"".join(blocks)))

    def close(self, tape: Tape) -> None:
        """No more; `done` gets it when the file is written."""
        tape.over = True
        self.flush()
        self._queue.put((tape, None))

    def stop(self, timeout_s: float = 2.0) -> None:
        """The process ends: write what waits, as long as that takes no longer than this."""
        self.flush()
        self._queue.put(None)
        self._thread.join(timeout_s)

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            tape, block = item
            if block is None:
                self._close(tape)
                continue
            try:
                self._write(tape, block)
            except OSError as error:
                tape.outcome, tape.detail, tape.over = "failed", f"{tape.path}: {error.strerror}", True
            self._written_bytes += len(block)
        for tape in list(self._files):
            self._close(tape)

    def _write(self, tape: Tape, block: bytes) -> None:
        fd = self._files.get(tape)
        if fd is None:
            if tape.outcome == "failed":
                return
            how = os.O_APPEND if tape.resumed else os.O_EXCL
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | how
            fd = self._files[tape] = os.open(tape.path, flags, 0o600)
        while block:
            block = block[os.write(fd, block) :]

    def _close(self, tape: Tape) -> None:
        fd = self._files.pop(tape, None)
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)
        self.done.append(tape)
