# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a fallback may hand a call on to: said when the file is read, not when the last agent is lost."""

from __future__ import annotations

import pytest

from support.call_rig import CONFIG
from trunkline.gateway.config import ConfigError, parse


def falling_back_to(target: str) -> str:
    return CONFIG.replace('name = "all"\n', f'name = "all"\nfallback = "transfer"\nfallback_target = "{target}"\n')


@pytest.mark.parametrize(
    "target", ["100", "+49 (30) 1-2", "*8#", "sip:100@192.0.2.10", "sips:x@[2001:db8::1]:5061", "sip:pbx.example.com",
               "sip:100@h;transport=tcp"],
)  # fmt: skip
def test_numbers_and_uris_are_taken(target: str) -> None:
    assert parse(falling_back_to(target)).routes[-1].fallback_target == target


@pytest.mark.parametrize(
    "target",
    ["reception", "sip:foo bar", "tel:+49301", "sip:100@host?Replaces=x", "sips:1@x;transport=udp", "sip:1@h:0",
     "sip:1@*", "sip:1@[::x]", "sip:1@h;x=<y>"],
)  # fmt: skip
def test_what_nobody_can_be_called_by_is_refused_with_a_sentence(target: str) -> None:
    with pytest.raises(ConfigError) as problem:
        parse(falling_back_to(target))
    assert "fallback_target" in str(problem.value)
