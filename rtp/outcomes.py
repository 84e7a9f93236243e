# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a packet did not become audio: one word each, the label of the metric."""

from __future__ import annotations

import enum


class Drop(enum.IntEnum):
    """Reasons for dropping a packet or frame; 0 means that it was kept."""

    NONE = 0
    SHORT = 1
    "shorter than its headers claim (RFC 3550 5.1)"
    VERSION = 2
    "not RTP version 2"
    PADDING = 3
    "padding length impossible"
    SOURCE = 4
    "from an address that signalling did not name, or a second port at it"
    PAYLOAD_TYPE = 5
    "a payload type that was not negotiated"
    SSRC = 6
    "another source on a stream that has one, not yet consistent"
    PROBATION = 7
    "not yet proven by consecutive sequence numbers"
    DUPLICATE = 8
    "a sequence number already seen"
    LATE = 9
    "its place in the timeline has been filled"
    OVERFLOW = 10
    "no room to hold it"
    NOT_RECEIVING = 11
    "we said that we do not receive (hold)"
    BAD_PAYLOAD = 12
    "payload of an impossible size for its codec"
    RTCP_INVALID = 13
    "an RTCP packet that breaks the compound rules"
    AGENT_OVERFLOW = 14
    "downlink audio beyond the agent's queue"
    AGENT_SLOW = 15
    "uplink audio that the agent did not read in time"
    SEND_FAILED = 16
    "the kernel refused a packet"
    TOO_FAST = 17
    "audio faster than time: a sender with a wild clock, or timestamps stamped ahead"
    RTCP_FLOOD = 18
    "RTCP packets beyond what a peer has to say (RFC 3550 6.2: one in some seconds)"
    SRTP_AUTH = 19
    "not protected with the key of the call (SRTP): forged, damaged, or not SRTP at all"
    SRTP_REPLAY = 20
    "an SRTP packet that was there before, or is too old to know (RFC 3711 3.3.2)"
    KEY_FLOOD = 21
    "key presses beyond what a dialler makes in a second, or a packet with more of them than one can have"
    GIVEN_UP = 22
    "it had waited for a worker that was a second behind"
