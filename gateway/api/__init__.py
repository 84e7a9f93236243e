# SPDX-License-Identifier: GPL-2.0-or-later
"""HTTP control of the gateway: FastAPI over the call service."""

from trunkline.gateway.api.app import create_app
from trunkline.gateway.api.server import ApiServer

__all__ = ["ApiServer", "create_app"]
