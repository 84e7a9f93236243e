# SPDX-License-Identifier: GPL-2.0-or-later
"""The media worker process: one loop around the engine.

    python -m trunkline.gateway.media.worker --control-fd N --table-fd M --capacity K --index I

A quiet worker wakes for each packet and passes it on at once.  Under load it
ticks on a grid (rhythm.py) and takes all that has come since: batches grow, and
the cost per packet falls.  What it prints goes to the gateway's log.
"""

from __future__ import annotations

import argparse
import functools
import gc
import os
import random
import select
import signal
import socket
import time
import traceback

import msgspec

from trunkline.codecs.opus_sending import OpusSettings
from trunkline.gateway.media import agent_news, control
from trunkline.gateway.media.channel import MAX_MESSAGE_BYTES, Channel, receive
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.engine import Engine
from trunkline.gateway.media.loop import Loop
from trunkline.gateway.media.poller import EpollPoller
from trunkline.gateway.media.rhythm import Rhythm
from trunkline.gateway.media.sounds import Clips, load_clips
from trunkline.gateway.media.table import Stream, Table, TableFull
from trunkline.gateway.media.udp import UdpSockets
from trunkline.gateway.media.usual_ticks import UsualTicks
from trunkline.gateway.media.warm import warm_up
from trunkline.rtp.jitter import TargetParams

CONTROL_NS = 10_000_000
"For messages of the gateway in one tick. A successor gets all its calls at once, and must not look dead meanwhile."
JITTER_MIN_MS = 45
"""Shortest wait for a missing packet. After two packet times and a little, the packet behind a loss of one or two is
there, and concealment can lead over to it (filling.py); only where something is missing does anybody wait at all."""
MAX_FAILURES = 100
"Ticks in a row that may fail before the process gives up and is replaced."
LAST_REPORTS = 4
"Datagrams of RTCP that are read when a call ends."
COLLECT_NS = 30_000_000_000
"Cyclic garbage is looked for this often, when no call is up; nothing here makes cycles on purpose."


class Worker:
    """Control channel, sockets and engine of one process."""

    def __init__(self, options: argparse.Namespace, clips: Clips) -> None:
        self.poller, self.reports = EpollPoller(), EpollPoller()
        self.index = options.index
        self.columns = Columns(options.capacity, options.table_fd)
        self.table = Table(self.columns)
        self.sockets = UdpSockets(self.table)
        self.channel = Channel(socket.socket(fileno=options.control_fd))
        jitter = TargetParams(
            min_ns=options.jitter_min_ms * 1_000_000, max_ns=options.jitter_max_ms * 1_000_000
        )
        self.engine = Engine(
            self.table, self.sockets, self.poller, time.monotonic_ns, self.post, random.SystemRandom(),
            jitter=jitter, send_silence=options.silence == "send", opus=_opus_settings(options),
        )  # fmt: skip
        self.engine.on_running = self._listen
        self.engine.downlink.sounds.keep(clips)
        self._said: list[bytes] = []
        self.running = True
        self.draining = False
        self._failures = 0
        rhythm = Rhythm(self.poller.poll, self.columns.worker)
        usual = UsualTicks(self.engine, self.sockets, self.poller, rhythm, self.channel.fileno())
        self.loop = Loop(
            self.engine, self.sockets, self.poller, rhythm, self.channel.fileno(), usual=usual, reports=self.reports
        )
        self._collect_ns = time.monotonic_ns() + COLLECT_NS

    # -- the gateway process ----------------------------------------------------------------

    def post(self, message: control.Message) -> None:
        """Send a message to the gateway, at the end of the tick; queued when it is slow."""
        data = control.encode(message)
        if len(data) > MAX_MESSAGE_BYTES:  # a message too long must not cost the tick
            print(f"message {type(message).__name__} of {len(data)} bytes not sent", flush=True)
            return
        self._said.append(data)

    def _tell(self) -> None:
        """Messages leave together: when many calls begin at once, each has something to say."""
        said, self._said = self._said, []
        try:
            for packet in control.joined(said, MAX_MESSAGE_BYTES):
                self.channel.send(packet)
        except OSError:
            self.running = False
        self._watch_channel()

    def _watch_channel(self) -> None:
        mask = select.EPOLLIN | (select.EPOLLOUT if self.channel.pending else 0)
        self.poller.watch(self.channel.fileno(), mask, self._on_channel)

    def _on_channel(self, events: int) -> None:
        try:
            if self.channel.pending:
                self.channel.flush()
            until_ns = time.monotonic_ns() + CONTROL_NS
            while self.running and time.monotonic_ns() < until_ns:  # what is left has the next tick
                message, fds = self.channel.receive()
                if not message:  # the gateway is gone, and so is the reason to live
                    self.running = False
                    return
                self._take_message(message, fds)
        except BlockingIOError:
            self._watch_channel()
        except OSError as error:
            print(f"control channel failed: {error}", flush=True)
            self.running = False

    def _take_message(self, raw: bytes, fds: list[int]) -> None:
        sockets = [socket.socket(fileno=fd) for fd in fds]
        try:
            message = control.decode_to_worker(raw)
            if isinstance(message, control.StartStream):
                self._start(message, sockets)
            else:
                self._command(message)
        except msgspec.MsgspecError as error:
            print(f"control message not understood: {error}", flush=True)
            for sock in sockets:
                sock.close()

    def _start(self, message: control.StartStream, sockets: list[socket.socket]) -> None:
        call_id = message.info.call_id
        if not sockets:  # the kernel had no descriptor for them (channel.receive)
            detail = f"media worker {self.index} may open no more descriptors; raise `ulimit -n`"
            self.post(control.StreamFailed(call_id, "no_descriptors", detail))
            return
        if message.slot >= self.table.capacity:
            for sock in sockets:
                sock.close()
            self.post(
                control.StreamFailed(call_id, "bad_media", "the call came with a row that is not there")
            )
            return
        try:
            stream = self.table.take(message, sockets[0], sockets[1] if len(sockets) > 1 else None)
        except TableFull:
            for sock in sockets:
                sock.close()
            detail = f"all {self.table.capacity} rows of this worker are taken"
            self.post(control.StreamFailed(call_id, "table_full", detail))
            return
        self.sockets.add(stream)
        try:
            self.engine.start(stream, time.monotonic_ns())
        except (ValueError, KeyError) as error:  # a codec or rate that this build cannot do
            self.post(control.StreamFailed(call_id, "bad_media", str(error)))

    def _command(self, message: control.ToWorker) -> None:
        if isinstance(message, control.Drain):
            self.draining = True
            return
        if isinstance(message, control.Adopt):  # it has a place
            return
        assert not isinstance(message, control.StartStream)
        stream = self.table.by_call.get(message.call_id)
        now_ns = time.monotonic_ns()
        if stream is None:  # it has just ended
            if isinstance(message, control.StopStream):
                self.post(control.StreamEnded(message.call_id, {}))
            return
        match message:
            case control.UpdateStream(media=media):
                try:
                    self.engine.update(stream, media, now_ns)
                except (ValueError, KeyError) as error:
                    self.post(control.StreamFailed(stream.call_id, "bad_media", str(error)))
            case control.StopStream(reason=reason):
                self._stop(stream, reason, now_ns)
            case control.SendDtmf(digits=digits, duration_ms=duration_ms, gap_ms=gap_ms, inband=inband):
                if inband:
                    self.engine.playback.use_tones(stream)
                self.engine.playback.send_digits(stream, digits, duration_ms, gap_ms)
            case control.InjectDtmf(digit=digit, duration_ms=duration_ms, method=method):
                self.engine.keys.press(stream, digit, duration_ms, method, now_ns)
            case control.DtmfRefused(text=text):
                self.engine.agents.telling.refused(stream, "dtmf_not_sent", text)
            case control.ClearAudio():
                self.engine.playback.clear(stream)
            case control.PlaySound(path=path, loop=loop):
                self.engine.downlink.sounds.play(stream, path, loop, now_ns)
            case control.StopSound():
                self.engine.downlink.sounds.stop(stream)
            case control.StartRecording(recording=recording):
                self.engine.recorder.start(stream, recording)
            case control.SipSeen():
                self.engine.recorder.sip(stream, message)
            case control.StopRecording():
                self._take_last_rtcp(stream)
                self.engine.recorder.stop(stream)
            case _:
                agent_news.tell(self.engine.agents.telling, stream, message)

    def _stop(self, stream: Stream, reason: str, now_ns: int) -> None:
        self._take_last_rtcp(stream)
        stats = self.engine.stop(stream, reason, now_ns)
        self.sockets.remove(stream)
        for sock in stream.sockets:
            self.poller.forget(sock.fileno())
            self.reports.forget(sock.fileno())
            sock.close()
        self.post(control.StreamEnded(stream.call_id, stats))

    # -- the loop ---------------------------------------------------------------------------

    def run(self) -> None:
        """Work until the gateway closes the channel or drains us."""
        gc.collect()
        gc.freeze()
        gc.disable()
        counters = self.columns.worker
        self._watch_channel()
        self.post(control.WorkerReady(int(counters.pid[0])))
        self._tell()
        while self.running and not (self.draining and not self.table.by_call):
            try:
                self.loop.turn()
                self._failures = 0
            except Exception:  # one bad tick must not cost the other calls theirs
                self._failures += 1
                if self._failures <= 3:
                    print(f"tick failed:\n{traceback.format_exc()}", flush=True)
                if self._failures > MAX_FAILURES:
                    raise
            if self._said:
                self._tell()
            now_ns = self.loop.rhythm.begun_ns
            if not self.table.by_call and now_ns > self._collect_ns:
                self._collect_ns = now_ns + COLLECT_NS
                gc.collect()
        self.engine.agents.close_all()
        self.engine.recorder.close()
        self._tell()

    def _listen(self, stream: Stream) -> None:
        """Read a stream's sockets from now on; what came earlier has waited in the kernel."""
        self.poller.watch_silently(stream.rtp.fileno())
        if stream.rtcp is not None:
            self.reports.watch(
                stream.rtcp.fileno(), select.EPOLLIN, functools.partial(self._on_rtcp, stream)
            )

    def _on_rtcp(self, stream: Stream, _events: int) -> None:
        self._take_rtcp(stream)

    def _take_rtcp(self, stream: Stream) -> bool:
        """One datagram; whether there was one."""
        datagram = self.sockets.receive_rtcp(stream)
        if datagram is None:
            return False
        data, address, age_ns = datagram
        self.engine.receive_rtcp(stream, data, address, time.monotonic_ns() - age_ns)
        return True

    def _take_last_rtcp(self, stream: Stream) -> None:
        """What has come and not been read: a peer's last report comes with its BYE, and is of the call's figures."""
        for _ in range(LAST_REPORTS):
            if not self._take_rtcp(stream):
                return


def _opus_settings(options: argparse.Namespace) -> OpusSettings:
    return OpusSettings(options.opus_complexity, options.opus_bitrate_bps, options.opus_fec, options.opus_dtx)


def _adopted(options: argparse.Namespace) -> bool:
    """Wait for a place; False when the gateway has ended, or has no use for us."""
    sock = socket.socket(fileno=options.control_fd)
    try:
        raw, fds = receive(sock)
        message = control.decode_to_worker(raw) if raw else None
        if not isinstance(message, control.Adopt) or not fds:
            return False
        options.index, options.capacity, options.table_fd = message.index, message.capacity, fds[0]
        return True
    finally:
        sock.detach()


def main(arguments: list[str] | None = None) -> None:
    """Program of the worker process."""
    parser = argparse.ArgumentParser(prog="trunkline-media-worker")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--table-fd", type=int)
    parser.add_argument("--capacity", type=int)
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--spare", action="store_true", help="wait for a table and a number (control.Adopt)")
    parser.add_argument("--jitter-min-ms", type=int, default=JITTER_MIN_MS)
    parser.add_argument("--jitter-max-ms", type=int, default=200)
    parser.add_argument("--silence", choices=("send", "suppress"), default="send")
    opus = OpusSettings()
    parser.add_argument("--opus-complexity", type=int, default=opus.complexity)
    parser.add_argument("--opus-bitrate-bps", type=int, default=opus.bitrate_bps)
    parser.add_argument("--opus-fec", action=argparse.BooleanOptionalAction, default=opus.fec)
    parser.add_argument("--opus-dtx", action="store_true")
    parser.add_argument("--sound", action="append", default=[], help="rate:path of a WAV file that calls may need")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the gateway
    if problem := warm_up():
        print(problem, flush=True)
    # A spare has them before it is needed: five minutes of music take seconds, which its calls would be silent for.
    clips, problems = load_clips(options.sound)
    for problem in problems:
        print(f"sound: {problem}", flush=True)
    if options.spare and not _adopted(options):
        return
    worker = Worker(options, clips)
    worker.columns.worker.pid[0] = os.getpid()
    worker.run()


if __name__ == "__main__":
    main()
