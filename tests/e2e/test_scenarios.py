# SPDX-License-Identifier: GPL-2.0-or-later
"""Every scenario of `sipp_scenarios/` is driven by a test, and says what it does."""

from __future__ import annotations

import pathlib
import re

import pytest

from support.sipp import SCENARIOS

TESTS = pathlib.Path(__file__).resolve().parents[1]
STEMS = sorted(path.stem for path in SCENARIOS.glob("*.xml"))
NOT_FROM_OUTSIDE = {
    "uas_auth": "digest of a trunk that does not register",
    "uas_refer_auth": "a trunk with a password; here it is Asterisk",
    "uas_glare": "we hold, and the offers cross",
    "uas_register": "a registrar of SIPp; here it is Asterisk",
    "uas_register_refuse": "the same, overloaded",
    "uas_register_short": "the same, with a short lifetime",
    "uas_session_timer": "the refresh comes after 45 s: it is waited for once",
    "uas_update": "we hold by UPDATE",
}
"""What nobody outside can ask for, or what takes long: driven in tests/gateway/sip."""


def drivers(folder: pathlib.Path) -> str:
    """Text of all tests there, but this one; with the calls of the matrix, which e2e/test_matrix.py makes."""
    paths = [path for path in sorted(folder.glob("test_*.py")) if path != pathlib.Path(__file__)]
    return "\n".join(path.read_text() for path in [*paths, TESTS / "matrix/calling.py"])


@pytest.mark.parametrize("stem", STEMS)
def test_a_scenario_has_a_driver_against_the_whole_gateway(stem: str) -> None:
    folder = TESTS / ("gateway/sip" if stem in NOT_FROM_OUTSIDE else "e2e")
    assert re.search(rf'"{stem}"', drivers(folder)), f"no test in {folder} runs {stem}.xml"


@pytest.mark.parametrize("stem", STEMS)
def test_a_scenario_begins_with_what_it_does(stem: str) -> None:
    text = (SCENARIOS / f"{stem}.xml").read_text()
    comment = re.search(r"<!--\n\s+(\S.*?)-->", text, re.S)
    assert comment is not None and len(comment[1].split()) >= 5
    assert f'<scenario name="{stem}">' in text
