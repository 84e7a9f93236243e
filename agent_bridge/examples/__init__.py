# SPDX-License-Identifier: MIT
"""Agents to read and to begin with."""
