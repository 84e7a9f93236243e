# SPDX-License-Identifier: GPL-2.0-or-later
"""What users read about the configuration is what the model says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from trunkline.gateway.config import Config, parse, schema
from trunkline.gateway.config.model import Section
from trunkline.gateway.config.reference import BEGIN, END, example, reference

README = Path(__file__).parents[3] / "gateway/config/README.md"


def sections(section: type[Section]) -> Iterator[type[Section]]:
    """A table and all below it."""
    yield section
    for key in schema.keys(section):
        if key.section is not None:
            yield from sections(key.section)


def uncommented(text: str) -> str:
    """The example with all that is commented out in it switched on."""
    return re.sub(r"(?m)^# (?=\[|[a-z_]+ = )", "", text)


def test_readme_carries_the_reference_as_generated() -> None:
    """`trunkline check --reference` prints what belongs between the markers."""
    text = README.read_text()
    assert text.count(BEGIN) == text.count(END) == 1, f"README.md needs {BEGIN} and {END}, once each"
    carried = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    assert carried.strip() == reference().strip(), "run: trunkline check --reference"


def test_every_key_is_documented() -> None:
    """Each with a meaning, and with what it takes."""
    text = reference()
    for section in sections(Config):
        assert (section.__doc__ or "").strip()
        for key in schema.keys(section):
            if key.section is None:
                assert key.info.description, f"{section.__name__}.{key.name}"
                assert f"| `{key.name}` | {key.allowed} |" in text


def test_the_example_is_valid_as_it_ships() -> None:
    """Without a warning, too."""
    assert parse(example()).warnings == []


def test_what_the_example_comments_out_is_valid_and_the_default() -> None:
    """So a user can switch on any line of it."""
    config = parse(uncommented(example()))
    assert len(config.trunks) == 2
    shipped = parse(example())
    assert (config.media, config.limits, config.logging) == (shipped.media, shipped.limits, shipped.logging)
    assert config.api == shipped.api
    assert config.media == Config().media
