# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that was freed in small pieces goes back to the kernel, and not only from the end of a heap."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, contextlib, ctypes, re, threading
from trunkline.gateway.memory import keep_trimmed

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def rss_kb():
    return int(re.search(r"VmRSS:\\s*(\\d+)", open("/proc/self/status").read())[1])

def work():
    blocks = [libc.malloc(2000) for _ in range(40_000)]
    for block in blocks:
        ctypes.memset(block, 1, 2000)
    for i, block in enumerate(blocks):
        if i % 100:  # one in a hundred stays, the last of all too: the heap cannot shrink from its end
            libc.free(block)
    libc.malloc(2000)
    done.set()
    stop.wait()

done, stop = threading.Event(), threading.Event()
threading.Thread(target=work).start()  # in a heap of its own, as the SIP thread
done.wait()
before = rss_kb()

async def main():
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(keep_trimmed(0.05), 0.5)

asyncio.run(main())
stop.set()
print(before - rss_kb())
"""


def test_free_memory_between_blocks_that_stay_goes_back_to_the_kernel() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(answer.stdout) > 50_000, "kB of the 80 MB that were freed"
