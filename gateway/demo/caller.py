# SPDX-License-Identifier: GPL-2.0-or-later
"""The two halves of the demo's caller: SIPp for SIP, `talker.py` for the voice.

    talker says its port  ->  SIPp puts it into the INVITE's SDP
    SIPp logs the 200's SDP  ->  the talker is told where to send

Each is what it is best at, and neither knows of the other.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
import time
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.g711 import SILENCE_ULAW
from trunkline.gateway.demo.errors import DemoError
from trunkline.gateway.demo.processes import Child
from trunkline.gateway.demo.recording import Recording
from trunkline.gateway.demo.speech import SAMPLE_RATE_HZ
from trunkline.gateway.demo.stage import SERVICE, Stage, free_port

ANSWER_S = 15.0
"An agent that does not come up fails the call within 2 s; SIP itself would retry for 32."
SILENCE_S = 0.6
"The voice goes on in silence while the echo's last words come back, as a person's would."
HANGUP_S = 0.1
"SIPp hangs up so long after that, by its own clock, which starts a moment before the voice's."
LOOK_S = 0.005
"How often SIPp's log is looked at for the answer: a caller who picks up late loses the first word."


class Caller:
    """One call to the stage's gateway."""

    def __init__(self, stage: Stage, said: NDArray[np.uint8]) -> None:
        self._stage = stage
        silence = np.full(round(SILENCE_S * SAMPLE_RATE_HZ), SILENCE_ULAW, np.uint8)
        self.said = np.concatenate([said, silence])
        self.seconds = len(self.said) / SAMPLE_RATE_HZ
        self.progress: dict[str, Any] = {"sent": 0, "received": 0, "said": 0.0, "heard": 0.0}
        self.levels: list[tuple[float, float]] = []
        "what was said and heard, ten times a second, 0 to 1"
        self.answer: tuple[str, int] | None = None
        self._record = stage.folder / "record.npz"
        self._answer_log = stage.folder / "sipp-answer.log"
        self.messages = stage.logs / "sip-messages.log"
        self._talker = self._start_talker()
        self._sipp: Child | None = None

    def dial(self) -> None:
        """Let SIPp send the INVITE."""
        port = self._read_line().get("port")
        if not isinstance(port, int):
            raise DemoError("the caller's voice did not start", self._talker.tail())
        self._sipp = self._start_sipp(port)
        threading.Thread(target=self._speak, daemon=True, name="voice").start()

    def answered(self) -> bool:
        """Whether the 200 has come. Raises DemoError with what came instead."""
        assert self._sipp is not None
        if self.answer is None and not self._sipp.running and self._look_for_answer() is None:
            raise DemoError(f"the call failed: {self.last_response()}; all SIP is in {self.messages}")
        return self.answer is not None

    def over(self) -> bool:
        """Whether SIP and voice have both ended."""
        assert self._sipp is not None
        return not self._sipp.running and not self._talker.running

    def result(self) -> Recording:
        """What was said and heard; raises DemoError when the call did not end well."""
        assert self._sipp is not None
        if self._sipp.process.returncode != 0:
            # Anything but 0 is a failure: 255 is SIPp's own time-out, not success.
            code = self._sipp.process.returncode
            raise DemoError(f"SIPp ended with {code}: {self.last_response()}; all SIP is in {self.messages}")
        if self._talker.process.returncode != 0 or not self._record.exists():
            raise DemoError("the caller's voice failed", self._talker.tail())
        return Recording.load(self._record)

    def last_response(self) -> str:
        """The last final response, or that there was none."""
        try:
            text = self.messages.read_text(errors="replace")
        except OSError:
            text = ""
        responses = re.findall(r"^SIP/2\.0 ([2-6]\d\d [^\r\n]*)", text, re.MULTILINE)
        return f"SIP {responses[-1]}" if responses else "no final SIP response came"

    def _start_talker(self) -> Child:
        clip = self._stage.folder / "said.ulaw"
        clip.write_bytes(self.said.tobytes())
        module = "trunkline.gateway.demo.talker"
        command = [sys.executable, "-m", module, "--host", self._stage.host]
        command += ["--clip", str(clip), "--record", str(self._record)]
        return self._stage.start("the caller's voice", command, "voice.log", talks=True)

    def _start_sipp(self, voice_port: int) -> Child:
        program = shutil.which("sipp")
        if program is None:
            raise DemoError("SIPp is missing, which plays the caller: apt install sip-tester")
        stage = self._stage
        scenario = stage.folder / "call.xml"
        scenario.write_text(resources.files(__package__).joinpath("call.xml").read_text())
        hold_ms = round((self.seconds + HANGUP_S) * 1000)
        limit_s = round(self.seconds + HANGUP_S + ANSWER_S)
        command = [program, "-sf", str(scenario), "-s", SERVICE, "-m", "1", "-nostdin"]
        command += ["-i", stage.host, "-p", str(free_port(stage.host, 0, both=True)), "-mi", stage.host]
        command += ["-key", "voice_port", str(voice_port), "-d", str(hold_ms)]
        command += ["-trace_logs", "-log_file", str(self._answer_log)]
        command += ["-trace_msg", "-message_file", str(self.messages)]
        command += ["-timeout", f"{limit_s}s", "-timeout_error", f"{stage.host}:{stage.sip_port}"]
        return stage.start("SIPp", command, "sipp.log")

    def _look_for_answer(self) -> tuple[str, int] | None:
        try:
            text = self._answer_log.read_text(errors="replace")
        except OSError:
            return None
        match = re.search(r"answer\s+(\S+)\s+(\d+)\b", text)
        return (match[1], int(match[2])) if match else None

    def _read_line(self) -> dict[str, Any]:
        assert self._talker.process.stdout is not None
        line = self._talker.process.stdout.readline()
        return dict(json.loads(line)) if line else {}

    def _write_line(self, message: dict[str, Any]) -> None:
        assert self._talker.process.stdin is not None
        self._talker.process.stdin.write(json.dumps(message) + "\n")

    def _speak(self) -> None:
        """On a thread: start the voice at the answer, then keep its reports."""
        while self.answer is None:
            if self._sipp is None or not self._sipp.running or not self._talker.running:
                return
            time.sleep(LOOK_S)
            self.answer = self._look_for_answer()
        self._write_line({"host": self.answer[0], "port": self.answer[1]})
        while report := self._read_line():
            self.progress = report
            self.levels.append((report["said"], report["heard"]))
