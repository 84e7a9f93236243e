# SPDX-License-Identifier: GPL-2.0-or-later
"""Which calls are recorded, where, and what became of it."""

from __future__ import annotations

import os
from pathlib import Path

from trunkline.gateway.calls.book import Book, log
from trunkline.gateway.calls.call import ANSWERED, Call
from trunkline.gateway.calls.recorded import SUFFIX
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.calls.sip_masking import masked
from trunkline.gateway.config.addresses import is_ip
from trunkline.gateway.config.model import Config
from trunkline.gateway.media import control
from trunkline.gateway.sip.events import SipMessage
from trunkline.gateway.sip.messages import Trace

RECOUNT_S = 60.0
"How often the folders are looked at: whoever keeps them deletes files."
ASKED_MAX_BYTES = 1_000_000_000
"Of a recording that was asked for by the API: three hours at 16 kHz."
SIP_PORT = 5060
SIP_MESSAGES = 1000
"Of a call in a recording: a peer may send INFO after INFO."
SIP_WAITING = 20
"Messages of a call that are kept while it has no worker, the last ones."
SIP_BYTES = 40_000
"Of one message: base64 of it fits into a control message of 64 kB, and it into a datagram."


def folders_of(config: Config) -> list[Path]:
    """Where routes record to."""
    return sorted({config.resolve_path(route.record).absolute() for route in config.routes if route.record})


def of_route(book: Book, call: Call) -> control.RecordingParams | None:
    """What the call's route says; a folder that is full or not there is logged, and costs nobody a call."""
    config = book.config
    route = next((one for one in config.routes if one.name == call.info.route), None)
    if route is None or not route.record:
        return None
    folder = config.resolve_path(route.record).absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        log.warning("recording.failed", call_id=call.id, detail=f"{folder}: {error.strerror}")
        return None
    octets = book.recorded.octets(folder)
    if octets >= route.record_folder_mb * 1_000_000:
        detail = f"the recordings in {folder} have {octets // 1_000_000} MB, of {route.record_folder_mb}"
        log.warning("recording.failed", call_id=call.id, detail=detail)
        return None
    call.recording = str(folder / f"{call.id}{SUFFIX}")
    return control.RecordingParams(call.recording, route.record_max_mb * 1_000_000, config.logging.redact_numbers)


def start(book: Book, call: Call | None, file: str) -> None:
    """Record a call from now on; raises CallRefused."""
    if call is None or call.phase not in ANSWERED:
        raise CallRefused("not_up", "only a call that is up can be recorded", 409)
    path = Path(file)
    try:
        there = path.exists() or path.is_symlink()
    except OSError as error:  # a name too long, a folder that may not be looked into
        raise CallRefused("bad_path", f"{file} cannot be looked for: {error.strerror}", 422) from None
    if there:
        raise CallRefused("file_exists", f"{file} is there already", 409)
    if call.recording:
        raise CallRefused("recorded", f"the call is being recorded already, into {call.recording}", 409)
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise CallRefused("no_folder", f"{path.parent} is no folder that the gateway may write to", 422)
    redact = book.config.logging.redact_numbers
    _send(book, control.StartRecording(call.id, control.RecordingParams(file, ASKED_MAX_BYTES, redact)))
    call.recording, call.sip_messages = file, 0
    book.post(Trace(call.id, wanted=True))
    book.publish("recording.started", call, file=file)


def stop(book: Book, call: Call | None) -> None:
    """End the recording of a call; one that is not recorded is left alone."""
    if call is None:
        raise CallRefused("not_up", "the call is over, and its recording with it", 409)
    _send(book, control.StopRecording(call.id))
    call.recording = ""
    _untraced(book, call)


def ended(book: Book, call: Call | None, message: control.RecordingEnded) -> None:
    """A file is closed, mostly after its call."""
    book.recorded.add(Path(message.path), message.octets)
    if call is not None and call.recording == message.path:  # no successor of its worker goes on with it
        call.recording = ""
        _untraced(book, call)
        book.media.remember(call.id, recording=None)
    book.observer.recorded(message.outcome, message.octets)
    say = log.warning if message.outcome != "complete" or message.left_out else log.info
    say(
        "recording.ended", call_id=message.call_id, file=message.path, octets=message.octets,
        left_out=message.left_out, outcome=message.outcome, detail=message.detail,
    )  # fmt: skip
    if call is not None:
        book.publish("recording.ended", call, file=message.path, outcome=message.outcome, octets=message.octets)


def sip(book: Book, call: Call, event: SipMessage) -> None:
    """A SIP message of a call: into its recording, when there is one; what cannot go there now goes with the next."""
    if not call.recording:
        return
    call.sip_messages += 1
    if call.sip_messages > SIP_MESSAGES:
        detail = f"no more than {SIP_MESSAGES} of its SIP messages are recorded"
        log.warning("recording.sip_left_out", call_id=call.id, detail=detail)
        _untraced(book, call)
        return
    numbers = call.numbers if book.config.logging.redact_numbers else None
    call.sip_waiting.append(
        control.SipSeen(
            call.id, event.outbound, masked(event.text, numbers)[:SIP_BYTES], event.time_ns, _address(event.peer),
            event.local_port or SIP_PORT,
        )
    )  # fmt: skip
    del call.sip_waiting[:-SIP_WAITING]
    while call.sip_waiting and book.media.send(call.sip_waiting[0]):
        del call.sip_waiting[0]


def _address(peer: str) -> tuple[str, int]:
    host, _, port = peer.rpartition(":")
    host = host.strip("[]").partition("%")[0]
    return (host if is_ip(host) else ""), int(port) if port.isdecimal() and 0 < int(port) < 65536 else SIP_PORT


def _untraced(book: Book, call: Call) -> None:
    call.sip_waiting.clear()
    if not call.sip_over:
        book.post(Trace(call.id, wanted=False))


def _send(book: Book, message: control.StartRecording | control.StopRecording) -> None:
    if not book.media.send(message):
        raise CallRefused("no_worker", "the media worker of this call is being replaced: try again", 503)
