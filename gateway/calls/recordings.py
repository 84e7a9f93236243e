# SPDX-License-Identifier: GPL-2.0-or-later
"""Which calls are recorded, where, and what became of it."""

from __future__ import annotations

import os
from pathlib import Path

from trunkline.gateway.calls.book import Book, log
from trunkline.gateway.calls.call import ANSWERED, Call
from trunkline.gateway.calls.recorded import SUFFIX
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.config.model import Config
from trunkline.gateway.media import control

RECOUNT_S = 60.0
"How often the folders are looked at: whoever keeps them deletes files."
ASKED_MAX_BYTES = 1_000_000_000
"Of a recording that was asked for by the API: three hours at 16 kHz."


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
    call.recording = file
    book.publish("recording.started", call, file=file)


def stop(book: Book, call: Call | None) -> None:
    """End the recording of a call; one that is not recorded is left alone."""
    if call is None:
        raise CallRefused("not_up", "the call is over, and its recording with it", 409)
    _send(book, control.StopRecording(call.id))
    call.recording = ""


def ended(book: Book, call: Call | None, message: control.RecordingEnded) -> None:
    """A file is closed, mostly after its call."""
    book.recorded.add(Path(message.path), message.octets)
    if call is not None and call.recording == message.path:  # no successor of its worker goes on with it
        call.recording = ""
        book.media.remember(call.id, recording=None)
    book.observer.recorded(message.outcome, message.octets)
    say = log.warning if message.outcome != "complete" or message.left_out else log.info
    say(
        "recording.ended", call_id=message.call_id, file=message.path, octets=message.octets,
        left_out=message.left_out, outcome=message.outcome, detail=message.detail,
    )  # fmt: skip
    if call is not None:
        book.publish("recording.ended", call, file=message.path, outcome=message.outcome, octets=message.octets)


def _send(book: Book, message: control.StartRecording | control.StopRecording) -> None:
    if not book.media.send(message):
        raise CallRefused("no_worker", "the media worker of this call is being replaced: try again", 503)
