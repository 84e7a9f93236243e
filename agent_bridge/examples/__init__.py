# SPDX-License-Identifier: MIT
"""Agents to read and to begin with: copy one, and put your own code where it says so."""
