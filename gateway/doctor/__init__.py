# SPDX-License-Identifier: GPL-2.0-or-later
"""What this machine has and lacks for carrying calls; `trunkline doctor` shows it."""

from trunkline.gateway.doctor.examine import examine
from trunkline.gateway.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "examine"]
