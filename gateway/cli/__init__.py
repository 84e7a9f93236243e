# SPDX-License-Identifier: GPL-2.0-or-later
"""The program `trunkline`."""

from __future__ import annotations

import sys

_HINT = "trunkline: {name} is missing; the program needs more than the SDK: pip install 'trunkline[gateway]'"


def main() -> None:
    """Console entry. Installed without extras, trunkline is a library, and its program says how to get the rest."""
    try:
        from trunkline.gateway.cli.app import run  # noqa: PLC0415 - typer itself may be what is missing
    except ModuleNotFoundError as error:
        # One of our own modules missing is a broken installation, which the traceback shows best.
        if error.name is None or error.name.split(".")[0] == "trunkline":
            raise
        sys.exit(_HINT.format(name=error.name))
    run()
