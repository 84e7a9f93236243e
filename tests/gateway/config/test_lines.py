# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of keys are found in every way of writing them."""

from __future__ import annotations

import pytest

from trunkline.gateway.config.errors import Location
from trunkline.gateway.config.lines import KeyLines

TEXT = '''# a comment = 1
top = 1
[sip]
user_agent = "x"
[[sip.transport]]
port = 1
[[sip.transport]]
  port = 2
[[trunk]]
name = "a"
[trunk.register]
server = "s"
[[trunk]]
name = """
name = "not this one"
"""
match = [
  "1.2.3.4",
]
register.server = "t"
[ "quoted" ]
"a b" = 1
[[route]]
header = { X-A = "a" }
'''


@pytest.mark.parametrize(
    ("location", "line"),
    [
        (("top",), 2),
        (("sip",), 3),
        (("sip", "user_agent"), 4),
        (("sip", "transport"), 5),
        (("sip", "transport", 0, "port"), 6),
        (("sip", "transport", 1), 7),
        (("sip", "transport", 1, "port"), 8),
        (("trunk", 0, "register"), 11),
        (("trunk", 0, "register", "server"), 12),
        (("trunk", 1, "name"), 14),
        (("trunk", 1, "match", 0), 17),
        (("trunk", 1, "register", "server"), 20),
        (("quoted", "a b"), 22),
        (("route", 0, "header", "X-A"), 24),
        (("trunk", 0, "missing"), 9),
        (("nowhere",), None),
        ((), None),
    ],
)
def test_a_key_is_found_at_its_line_or_at_its_table(location: Location, line: int | None) -> None:
    """Keys of inline tables at the table's line; missing keys at their table's header."""
    assert KeyLines(TEXT).find(location) == line
