# SPDX-License-Identifier: GPL-2.0-or-later
"""How to call the running demo from a softphone or a PBX."""

from __future__ import annotations

import shutil
from pathlib import Path

from trunkline.gateway.demo.processes import trunkline_command

ASTERISK = """\
[trunkline]
type = endpoint
context = from-trunkline
disallow = all
allow = ulaw,alaw
aors = trunkline

[trunkline]
type = aor
contact = sip:{address}

[trunkline]
type = identify
endpoint = trunkline
match = {host}

; extensions.conf: 8600 rings the agent
exten => 8600,1,Dial(PJSIP/600@trunkline)"""

FREESWITCH = """\
<include>
  <gateway name="trunkline">
    <param name="proxy" value="{address}"/>
    <param name="register" value="false"/>
    <param name="caller-id-in-from" value="true"/>
  </gateway>
</include>
<!-- dialplan: <action application="bridge" data="sofia/gateway/trunkline/600"/> -->"""


def who_may_call(host: str, network: str, lan: bool) -> str:
    """Who the demo's gateway admits."""
    if lan:
        return f"Programs in {network} may call; everybody else is refused."
    return (
        f"Programs on this machine ({network}) may call; everybody else is refused. "
        "For telephones on your network: `trunkline demo --lan ADDRESS`, an address of this machine there."
    )


def commands(api_port: int, token_file: Path) -> list[str]:
    """What to type in another terminal to watch."""
    program = Path(trunkline_command()[0])
    name = program.name
    if shutil.which(name) != str(program):
        here = program.is_relative_to(Path.cwd())
        name = str(program.relative_to(Path.cwd()) if here else program)
    options = f"--api-url http://127.0.0.1:{api_port} --token-file {token_file}"
    return [f"{name} calls --watch {options}", f"{name} events {options}"]


def snippets(host: str, port: int) -> list[tuple[str, str, str]]:
    """Configuration of a PBX that should send calls here: its name, the language, the text."""
    address = f"{host}:{port}"
    return [
        ("Asterisk: pjsip.conf, extensions.conf", "ini", ASTERISK.format(address=address, host=host)),
        (
            "FreeSWITCH: sip_profiles/external/trunkline.xml, dialplan",
            "xml",
            FREESWITCH.format(address=address),
        ),
    ]
