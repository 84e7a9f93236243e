# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline bench`: how many calls a machine carries, measured with a real media worker.

    generator (C)  == RTP ==>  media worker  == dialect ==>  agent          three processes and this one
                   <== RTP ==                <== echo =====

No SIP is needed: `session.py` opens the RTP sockets, starts the worker as the gateway does and
hands it the calls.  Generator and agent only write down what they see and when; `matching.py`
finds each packet again and `figures.py` says what it took.
"""
