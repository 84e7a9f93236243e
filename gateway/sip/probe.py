# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m trunkline.gateway.sip.probe`: print as JSON what the installed pjsua2 can do, and end.

A process of its own, because a library of the wrong build ends whoever loads
it; opens no socket and no sound device.
"""

from __future__ import annotations

import json
import sys

import pjsua2


def probe() -> dict[str, object]:
    """Ask the library: version, compiled limit of calls, names of codecs."""
    endpoint = pjsua2.Endpoint()
    endpoint.libCreate()
    config = pjsua2.EpConfig()
    config.uaConfig.threadCnt = 0
    config.logConfig.level = 0
    config.logConfig.consoleLevel = 0
    # A fresh UaConfig carries pjsua_config_default(), whose max_calls is PJSUA_MAX_CALLS as compiled in.
    max_calls = pjsua2.UaConfig().maxCalls
    endpoint.libInit(config)
    # "opus/48000/2" and "L16/44100/1" differ from each other in rate and channels; the name is what SDP shows.
    names = {codec.codecId.split("/")[0] for codec in endpoint.codecEnum2()}
    version = endpoint.libVersion().full
    endpoint.libDestroy()
    return {"version": version, "max_calls": max_calls, "codecs": sorted(names, key=str.lower)}


if __name__ == "__main__":
    json.dump(probe(), sys.stdout)
    sys.stdout.write("\n")
