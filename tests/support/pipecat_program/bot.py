# SPDX-License-Identifier: GPL-2.0-or-later
"""A voice bot as Pipecat's users write them, for Twilio; run by pipecat_bot.py in an environment of its own.

    bot.py PORT API ACCOUNT TOKEN

It speaks (a tone), stops when the caller interrupts, repeats the caller after key 1 and hangs up after key 9.
Nothing in it knows of trunkline, except that Twilio's API is at the URL `API`.
"""

from __future__ import annotations

import sys

import numpy as np
import uvicorn
from fastapi import FastAPI, WebSocket
from pipecat.frames.frames import (
    EndWorkerFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    OutputAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner

RATE_HZ, TONE_HZ, LOUD = 8000, 440, 2000
app = FastAPI()
port, api, account, token = int(sys.argv[1]), *sys.argv[2:]


class Bot(FrameProcessor):
    """What the bot does with what it hears."""

    def __init__(self) -> None:
        super().__init__()
        self._speaking, self._repeating = False, False

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Each frame passes here."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            await self._hear(frame.audio)
        elif isinstance(frame, InputDTMFFrame):
            await self._press(frame.button.value)
        else:
            await self.push_frame(frame, direction)

    async def greet(self) -> None:
        """Speak for ten seconds."""
        self._speaking = True
        time = np.arange(10 * RATE_HZ) / RATE_HZ
        await self._say((8000 * np.sin(2 * np.pi * TONE_HZ * time)).astype("<i2").tobytes())

    async def _hear(self, audio: bytes) -> None:
        if self._repeating:
            await self._say(audio)
        elif self._speaking and np.abs(np.frombuffer(audio, "<i2")).max(initial=0) > LOUD:
            self._speaking = False
            await self.broadcast_interruption()
            print("interrupted", flush=True)

    async def _press(self, key: str) -> None:
        print(f"key {key}", flush=True)
        if key == "1":
            self._repeating = True
        elif key == "9":
            await self.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)

    async def _say(self, pcm: bytes) -> None:
        await self.push_frame(OutputAudioRawFrame(audio=pcm, sample_rate=RATE_HZ, num_channels=1))


@app.websocket("/ws")
async def answer(websocket: WebSocket) -> None:
    """One call."""
    await websocket.accept()
    provider, call = await parse_telephony_websocket(websocket)
    print(f"{provider} call {call['call_id']} {call['body'].get('language')}", flush=True)
    serializer = TwilioFrameSerializer(
        stream_sid=call["stream_id"], call_sid=call["call_id"], account_sid=account, auth_token=token, base_url=api
    )
    transport = FastAPIWebsocketTransport(
        websocket=websocket,
        params=FastAPIWebsocketParams(
            audio_in_enabled=True, audio_out_enabled=True, add_wav_header=False, serializer=serializer
        ),
    )
    bot = Bot()
    pipeline = Pipeline([transport.input(), bot, transport.output()])
    params = PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ)
    worker = PipelineWorker(pipeline, params=params)

    @transport.event_handler("on_client_connected")
    async def connected(*_: object) -> None:
        await bot.greet()

    @transport.event_handler("on_client_disconnected")
    async def disconnected(*_: object) -> None:
        print("disconnected", flush=True)
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
    print("ended", flush=True)


uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
