# SPDX-License-Identifier: MIT
"""An agent that can be interrupted: python -m trunkline.agent_bridge.examples.barge_in unix:/tmp/parrot.sock

It waits for the caller to finish, then says all of it back.  If the caller speaks meanwhile, it is silent at
once and knows how much of it he has heard.  If it dies, the agent that gets the call next knows where it was.
"""

import asyncio
import sys
from collections.abc import AsyncIterator

import numpy as np

from trunkline.agent_bridge import Call, CallerTurn, serve


async def answer(turn: CallerTurn) -> AsyncIterator[np.ndarray]:
    """Your recogniser, language model and synthesiser: speech in pieces, as fast as it is made."""
    for start in range(0, len(turn.pcm), 1600):
        yield turn.pcm[start : start + 1600]


async def parrot(call: Call) -> None:
    turns = int(call.saved) if call.saved.isdigit() else 0  # of an agent that was lost with this call
    reply = None
    async for turn in call.turns():  # what the caller said, from his first word to his last
        if reply is not None and (spoken := await reply).interrupted:
            print(f"interrupted after {spoken.heard_ms} of {spoken.said_ms} ms", flush=True)
        reply = call.say(answer(turn))
        turns += 1
        call.save(str(turns).encode())
        call.set(turns=str(turns))


if __name__ == "__main__":
    asyncio.run(serve(parrot, sys.argv[1]))
