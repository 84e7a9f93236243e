# SPDX-License-Identifier: GPL-2.0-or-later
"""One call's packets and its talk with the agent in a file, and such a file played to another agent.

A recording is a pcapng file that Wireshark opens. Its two interfaces:

    0  rtp     LINKTYPE_RAW (101): RTP and RTCP as IP packets. With SRTP: in the clear, as proven and before
               protection; keys are never in it. The addresses are those that the packets travel between.
               SIP messages as UDP datagrams, whatever they have travelled by, between the peer's address and the
               one of our RTP with the port on which we listen (5060 where a port is not known), at most 40,000
               bytes of each. Credentials and keys are masked in them.
    1  bridge  LINKTYPE_USER0 (147): messages of the trunkline agent protocol (PROTOCOL.md, section 3), one a
               packet, on channel 1, whatever dialect the agent speaks.

The direction is in each packet's flags: inbound is from the caller, and from the agent. A call whose media worker
was replaced has a second section.
"""
