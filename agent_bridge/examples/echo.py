# SPDX-License-Identifier: MIT
"""An agent that repeats what it hears: python -m trunkline.agent_bridge.examples.echo unix:/tmp/echo.sock"""

import asyncio
import sys

from trunkline.agent_bridge import Call, serve


async def echo(call: Call) -> None:
    async for frame in call:
        call.play(frame.pcm)


if __name__ == "__main__":
    asyncio.run(serve(echo, sys.argv[1]))
