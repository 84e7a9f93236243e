# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline demo`: a real call through a real gateway, watched, heard and measured.

    SIPp ======== SIP ========> gateway ---- PCM over a Unix socket ----> echo agent
    talker <===== RTP ========> media worker <---------------------------

Four programs besides this one.  SIPp does the caller's SIP; the caller's voice is
`talker.py`, which plays the clip and records what comes back with the kernel's
time stamps, because SIPp can send a recording but keeps no record of what it
hears.  Both ends of the voice are on one clock, so delays need no synchronising.
"""
