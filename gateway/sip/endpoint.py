# SPDX-License-Identifier: GPL-2.0-or-later
"""Bringing PJSIP up, with everything off that belongs to media (see the design: PJSIP signals, we carry the media)."""

from __future__ import annotations

import pjsua2 as pj

from trunkline.gateway.sip.door import InviteDoor
from trunkline.gateway.sip.guard import guarded
from trunkline.gateway.sip.native import Native, transport_of
from trunkline.gateway.sip.pjlog import PjsipLog
from trunkline.gateway.sip.settings import SipConfig, SipStartError, Transport
from trunkline.gateway.sip.sockets import check_free
from trunkline.gateway.sip.tls_peers import TlsPeers

MESSAGES_LEVEL = 4
"From this level on, PJSIP's log has every SIP message."

PRIORITY_NORMAL = 128
"PJMEDIA_CODEC_PRIO_NORMAL, which the binding leaves out."


class Endpoint(pj.Endpoint):
    """The library; there can be one in a process at a time."""

    door: InviteDoor | None = None
    peers: TlsPeers | None = None

    @guarded
    def onSelectAccount(self, prm: pj.OnSelectAccountParam) -> None:  # noqa: N802
        # also asked for OPTIONS, SUBSCRIBE and MESSAGE outside of a dialog
        if self.door is not None and prm.rdata.info.startswith("Request msg INVITE"):
            account = self.door.screen(prm.rdata.wholeMsg, prm.rdata.srcAddress, transport_of(prm.rdata.pjRxData))
            if account is not None:
                prm.accountIndex = account.getId()

    @guarded
    def onTransportState(self, prm: pj.OnTransportStateParam) -> None:  # noqa: N802
        if self.peers is not None and prm.type.startswith("TLS"):
            self.peers.changed(int(prm.hnd), prm.state, prm.lastError, prm.tlsInfo)

    @guarded
    def onRejectedIncomingCall(self, prm: pj.OnRejectedIncomingCallParam) -> None:  # noqa: N802
        if self.door is not None:
            rdata = prm.rdata
            handle = transport_of(rdata.pjRxData)
            self.door.rejected(rdata.wholeMsg, rdata.srcAddress, handle, int(prm.statusCode), prm.reason)


def start_library(config: SipConfig, native: Native) -> Endpoint:
    """Create, configure and start PJSIP on the calling thread, which then owns it."""
    endpoint = Endpoint()
    native.quiet()
    endpoint.libCreate()
    native.quiet()
    endpoint.libInit(_endpoint_config(config))
    endpoint.audDevManager().setNoDev()
    _enable_codecs(endpoint)
    return endpoint


def _enable_codecs(endpoint: Endpoint) -> None:
    """Let PJSIP agree to all that it knows (L16 is off by default): it tries each offer before it asks us."""
    for codec in endpoint.codecEnum2():
        endpoint.codecSetPriority(codec.codecId, PRIORITY_NORMAL)


def _endpoint_config(config: SipConfig) -> pj.EpConfig:
    endpoint = pj.EpConfig()
    agent, log, media = endpoint.uaConfig, endpoint.logConfig, endpoint.medConfig
    agent.threadCnt = 0
    agent.mainThreadOnly = False
    agent.userAgent = config.user_agent
    agent.maxCalls = config.max_calls  # PJSIP cuts it down to what it was built for
    agent.mwiUnsolicitedEnabled = True  # only means that a PBX's NOTIFY gets a polite 200
    log.level = log.consoleLevel = config.log_level
    log.msgLogging = int(config.log_level >= MESSAGES_LEVEL)
    log.decor = pj.PJ_LOG_HAS_SENDER | pj.PJ_LOG_HAS_SPACE if hasattr(pj, "PJ_LOG_HAS_SENDER") else 0
    writer = PjsipLog()
    writer.__disown__()  # libDestroy deletes it
    log.writer = writer
    # Nothing is ever mixed, clocked or buffered; what cannot be off is made small.
    media.clockRate = media.sndClockRate = 8000
    media.threadCnt = 0
    media.hasIoqueue = False
    media.maxMediaPorts = agent.maxCalls + 8
    media.jbInit = media.jbMinPre = media.jbMaxPre = -1
    media.jbMax = 10
    media.noVad = True
    media.ecTailLen = 0
    media.quality = 1
    return endpoint


def listen(endpoint: Endpoint, transport: Transport) -> tuple[int, int]:
    """Open a transport: its id in PJSIP, and the port, which differs from the configured one only for 0."""
    check_free(transport)
    parameters = pj.TransportConfig()
    parameters.port = transport.port
    parameters.boundAddress = transport.bind
    parameters.publicAddress = transport.advertise
    kind = {
        ("udp", False): pj.PJSIP_TRANSPORT_UDP,
        ("udp", True): pj.PJSIP_TRANSPORT_UDP6,
        ("tcp", False): pj.PJSIP_TRANSPORT_TCP,
        ("tcp", True): pj.PJSIP_TRANSPORT_TCP6,
    }[transport.protocol, transport.ipv6]
    try:
        number = endpoint.transportCreate(kind, parameters)
        address = endpoint.transportGetInfo(number).localAddress
    except pj.Error as error:
        raise SipStartError(
            f"SIP cannot listen on {transport}: {error.reason}. Cure: correct `bind`, `port` and `advertise`"
        ) from None
    return number, int(address.rpartition(":")[2]) if address else transport.port
