# SPDX-License-Identifier: MIT
"""`python -m trunkline.agent_bridge.examples.receptionist [unix:/path | tcp:port] [DIALECT]`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys

from trunkline.agent_bridge import serve
from trunkline.agent_bridge.examples.receptionist.agent import receptionist

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
address, dialect = [*sys.argv[1:], *("tcp:9092", "trunkline")[len(sys.argv) - 1 :]][:2]
with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(serve(receptionist, address, dialect=dialect, name="receptionist"))
