# SPDX-License-Identifier: MIT
"""A receptionist: a voice agent that runs on a CPU and needs no network. See README.md in this folder.

`dialogue` decides what is said, `ears` understand, `mouth` speaks, `agent` brings them together in a call.
"""
