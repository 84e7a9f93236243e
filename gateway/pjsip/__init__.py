# SPDX-License-Identifier: GPL-2.0-or-later
"""Where PJSIP comes from: sources, the build into a cached wheel, and facts about what is installed.

Nothing here imports pjsua2; what needs it runs `trunkline.gateway.sip.probe` in a process of its own.
"""
