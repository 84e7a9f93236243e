# SPDX-License-Identifier: MIT
"""Speech by eSpeak NG, sentence by sentence, as it is made."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncGenerator

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.examples.receptionist.resampling import Resampler

Pcm = NDArray[np.int16]

_CHUNK_BYTES = 8192
_RATE_AT, _HEADER_BYTES = 24, 44
"Of a RIFF file as espeak-ng writes it."


class NoVoice(Exception):
    """espeak-ng is not there, or does not know the voice; the text says what to do."""


class Mouth:
    """One voice at one sample rate."""

    def __init__(self, rate_hz: int, voice: str = "en-us", words_per_minute: int = 165) -> None:
        """`rate_hz` is the call's. Raises NoVoice when espeak-ng is not installed."""
        program = shutil.which("espeak-ng")
        if program is None:
            raise NoVoice("espeak-ng is not installed: apt-get install espeak-ng")
        self._command = (program, "-v", voice, "-s", str(words_per_minute), "--stdout", "--")
        self._rate_hz = rate_hz

    async def speak(self, sentence: str) -> AsyncGenerator[Pcm, None]:
        """Pieces of a sentence, int16 at the call's rate, the first while the rest is still being made."""
        process = await asyncio.create_subprocess_exec(
            *self._command, sentence, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert process.stdout is not None  # asked for above
        try:
            async with contextlib.aclosing(_pieces(process.stdout, self._rate_hz)) as pieces:
                async for piece in pieces:
                    yield piece
            if await process.wait():
                raise NoVoice(f"{' '.join(self._command)} ended with {process.returncode}")
        finally:
            if process.returncode is None:  # nobody listens any more
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()


async def _pieces(stream: asyncio.StreamReader, rate_hz: int) -> AsyncGenerator[Pcm, None]:
    try:
        header = await stream.readexactly(_HEADER_BYTES)
    except asyncio.IncompleteReadError:
        return
    resampler = Resampler(int.from_bytes(header[_RATE_AT : _RATE_AT + 4], "little"), rate_hz)
    half = b""
    while data := await stream.read(_CHUNK_BYTES):
        data = half + data
        even = len(data) & ~1
        half = data[even:]
        yield resampler.take(np.frombuffer(data[:even], "<i2").astype(np.int16))
    yield resampler.end()
