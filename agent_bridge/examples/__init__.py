# SPDX-License-Identifier: MIT
"""Agents that fit on a screen: copy one, and put your own code where it says so."""
