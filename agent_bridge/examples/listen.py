# SPDX-License-Identifier: MIT
"""An agent that only listens: python -m trunkline.agent_bridge.examples.listen unix:/tmp/listen.sock

It writes what each caller says into a WAV file of its own.  A recogniser would take the frames instead.
"""

import asyncio
import sys
import wave
from pathlib import Path

from trunkline.agent_bridge import Call, serve


async def listen(call: Call) -> None:
    path = Path(f"{call.id}.wav")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(call.sample_rate)
        async for frame in call:  # one every 20 ms, until the call ends
            file.writeframes(frame.pcm.tobytes())
    print(f"{call.caller}: {path}", flush=True)


if __name__ == "__main__":
    asyncio.run(serve(listen, sys.argv[1]))
