# SPDX-License-Identifier: GPL-2.0-or-later
"""Which calls are recorded, where, and what became of it."""

from __future__ import annotations

import os
from pathlib import Path

from trunkline.gateway.calls.book import Book, log
from trunkline.gateway.calls.call import ANSWERED, Call
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.config.model import Config
from trunkline.gateway.media import control

SUFFIX = ".pcapng"
ASKED_MAX_BYTES = 1_000_000_000
"Of a recording that was asked for by the API: three hours at 16 kHz."


def of_route(config: Config, call: Call) -> control.RecordingParams | None:
    """What the call's route says; a folder that is full or not there is logged, and costs nobody a call."""
    route = next((one for one in config.routes if one.name == call.info.route), None)
    if route is None or not route.record:
        return None
    folder = Path(route.record)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        octets = sum(file.stat().st_size for file in folder.glob(f"*{SUFFIX}"))
    except OSError as error:
        log.warning("recording.failed", call_id=call.id, detail=f"{folder}: {error.strerror}")
        return None
    if octets >= route.record_folder_mb * 1_000_000:
        detail = f"the recordings in {folder} have {octets // 1_000_000} MB, of {route.record_folder_mb}"
        log.warning("recording.failed", call_id=call.id, detail=detail)
        return None
    path = str(folder.absolute() / f"{call.id}{SUFFIX}")
    return control.RecordingParams(path, route.record_max_mb * 1_000_000, config.logging.redact_numbers)


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
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise CallRefused("no_folder", f"{path.parent} is no folder that the gateway may write to", 422)
    redact = book.config.logging.redact_numbers
    _send(book, control.StartRecording(call.id, control.RecordingParams(file, ASKED_MAX_BYTES, redact)))
    book.publish("recording.started", call, file=file)


def stop(book: Book, call: Call | None) -> None:
    """End the recording of a call; one that is not recorded is left alone."""
    if call is None:
        raise CallRefused("not_up", "the call is over, and its recording with it", 409)
    _send(book, control.StopRecording(call.id))


def ended(book: Book, call: Call | None, message: control.RecordingEnded) -> None:
    """A file is closed, mostly after its call."""
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
