# SPDX-License-Identifier: GPL-2.0-or-later
"""One media worker as the gateway sees it: a child process and its control channel.

Everything is a callback on the event loop: the channel is readable or writable, the
process has ended (pidfd), a line came on its output.  Deciding what to do about it is
the pool's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import msgspec

from trunkline.gateway.media import channel, control
from trunkline.gateway.media.columns import Columns

PROGRAM = (sys.executable, "-m", "trunkline.gateway.media.worker")

# One tick works on all calls at once: BLAS threads would fight the other workers for their cores.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_MAX_LINE_BYTES = 8192
_END_LIMIT_S = 1.0
"Between the end of the channel and the end of the process."


class WorkerProcess:
    """A running worker. `closed` once its end has been seen; it is then of no more use."""

    def __init__(
        self,
        index: int,
        columns: Columns | None,
        options: Sequence[str],
        *,
        on_message: Callable[[WorkerProcess, control.Message], None],
        on_exit: Callable[[WorkerProcess, str], None],
        on_output: Callable[[int, str], None],
        program: Sequence[str] = PROGRAM,
    ) -> None:
        """Spawn it; without `columns` as a spare, which waits for `adopt`.

        Callbacks run on the running loop; `on_exit` is called once, with why.
        """
        self._loop = asyncio.get_running_loop()
        self._on_message, self._on_exit, self._on_output = on_message, on_exit, on_output
        self.index = index
        self.closed = False
        self.started_ns = time.monotonic_ns()
        self.ready_ns = 0
        "when it said WorkerReady; 0 before"
        self._writing = False
        self._line = b""
        ours, theirs = channel.pair()
        self._channel = channel.Channel(ours)
        try:
            self._process = _spawn(program, index, columns, options, theirs)
        except OSError:
            self._channel.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid
        self._pidfd = os.pidfd_open(self.pid)
        assert self._process.stdout is not None
        self._output_fd = self._process.stdout.fileno()
        os.set_blocking(self._output_fd, False)
        self._loop.add_reader(self._channel.fileno(), self._readable)
        self._loop.add_reader(self._output_fd, self._output_readable)
        self._loop.add_reader(self._pidfd, self._exited)

    @property
    def ready(self) -> bool:
        """Whether it takes streams."""
        return self.ready_ns > 0

    def adopt(self, index: int, columns: Columns) -> bool:
        """Give a spare its place; False when it is gone, or there is no descriptor to tell it with."""
        self.index = index
        self.started_ns = time.monotonic_ns()
        return not self.closed and self.send(control.Adopt(index, columns.capacity), (columns.fd,))

    def send(self, message: control.Message, fds: Sequence[int] = ()) -> bool:
        """Send or queue; a message to a dead worker is dropped, its end is about to be reported.

        False only when it could not be queued, because this process has no descriptor left for that.
        """
        if self.closed:
            return True
        try:
            self._channel.send(control.encode(message), fds)
        except OSError as error:
            return error.errno not in (errno.EMFILE, errno.ENFILE)
        if self._channel.pending and not self._writing:
            self._writing = True
            self._loop.add_writer(self._channel.fileno(), self._writable)
        return True

    def kill(self) -> None:
        """End it now (SIGKILL); `on_exit` follows. Nothing happens when it has ended."""
        if self.closed:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)

    def _writable(self) -> None:
        try:
            done = self._channel.flush()
        except OSError:  # gone; the pidfd says so in a moment
            done = True
        if done and self._writing:
            self._writing = False
            self._loop.remove_writer(self._channel.fileno())

    def _readable(self) -> None:
        """Take all messages that are there; a call's setup brings several at once."""
        while not self.closed:
            try:
                data, fds = self._channel.receive()
            except BlockingIOError:
                return
            except OSError as error:
                self._on_output(self.index, f"control channel: {error}")
                self.kill()
                return
            for fd in fds:  # workers never send any
                os.close(fd)
            if not data:
                # It is ending, or closed its end and goes on: then it is of no use to anybody.
                self._loop.remove_reader(self._channel.fileno())
                self._loop.call_later(_END_LIMIT_S, self.kill)
                return
            for line in control.apart(data):
                if not self.closed:  # a message may be the reason to end it
                    self._take(line)

    def _take(self, line: bytes) -> None:
        """One message."""
        try:
            message = control.decode_from_worker(line)
        except msgspec.DecodeError as error:
            self._on_output(self.index, f"unreadable control message: {error}")
        else:
            self._on_message(self, message)

    def _output_readable(self) -> None:
        try:
            data = os.read(self._output_fd, 65536)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._output_fd)
        *lines, self._line = (self._line + data).split(b"\n")
        if len(self._line) > _MAX_LINE_BYTES or (not data and self._line):
            lines.append(self._line)
            self._line = b""
        for line in lines:
            if line.strip():
                self._on_output(self.index, line.decode(errors="replace").rstrip())

    def _exited(self) -> None:
        """The process is gone: what it said last is still read, then everything is closed."""
        if self.closed:
            return
        code = self._process.wait()
        with contextlib.suppress(OSError):
            self._readable()
            self._output_readable()
        self._close()
        self._on_exit(self, _why(code))

    def _close(self) -> None:
        self.closed = True
        self.ready_ns = 0
        for fd in (self._channel.fileno(), self._output_fd, self._pidfd):
            self._loop.remove_reader(fd)
        self._loop.remove_writer(self._channel.fileno())
        self._channel.close()
        os.close(self._pidfd)
        assert self._process.stdout is not None
        self._process.stdout.close()


def _spawn(
    program: Sequence[str],
    index: int,
    columns: Columns | None,
    options: Sequence[str],
    control_end: socket.socket,
) -> subprocess.Popen[bytes]:
    command, inherited = [*program, "--control-fd", str(control_end.fileno())], [control_end.fileno()]
    if columns is None:
        command += ["--spare"]
    else:
        command += ["--table-fd", str(columns.fd), "--capacity", str(columns.capacity), "--index", str(index)]
        inherited += [columns.fd]
    return subprocess.Popen(
        [*command, *options],
        pass_fds=inherited,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **_ONE_THREAD, "PYTHONUNBUFFERED": "1"},
        # A terminal's Ctrl-C is for the gateway, which then ends its calls in order. A group for that and not a
        # session: to the kernel a session is a scheduling group of its own (autogroup), and Linux 6.18 left such
        # workers without a CPU for seconds while programs of another session kept all cores busy.
        process_group=0,
    )


def _why(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
