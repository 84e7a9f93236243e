# SPDX-License-Identifier: GPL-2.0-or-later
"""The TLS transport: how PJSIP gets its certificate, and gets another one while calls are up.

PJSIP takes credentials as names of files.  It reads them when a listener gets its first
connection, and again for each connection that it makes itself.  So what was found good
is kept in memory files of this process, whose names stay and whose content changes at
once, whatever happens meanwhile to the files of the configuration.

A listener keeps what it has read, so after a change there is a second one on the same
port (SO_REUSEPORT), and then the first is closed; established connections do not depend
on it.  Nothing of PJSIP may refer to the listener that goes, therefore no account is
bound to it, and there is one TLS transport only.
"""

from __future__ import annotations

import os

import pjsua2 as pj

from trunkline.gateway.sip.settings import Credentials, SipStartError, Transport
from trunkline.gateway.sip.sockets import SHARED_PORT, check_free

HANDSHAKE_TIMEOUT_MS = 10_000
"For the peer's part of a handshake; afterwards PJSIP gives the connection up."
_PROTOCOLS = {
    "1.2": pj.PJ_SSL_SOCK_PROTO_TLS1_2 | pj.PJ_SSL_SOCK_PROTO_TLS1_3,
    "1.3": pj.PJ_SSL_SOCK_PROTO_TLS1_3,
}


class MemoryFile:
    """A file without a place, for this process and its user alone; `path` stays when `content` changes."""

    def __init__(self, name: str, content: bytes) -> None:
        self._descriptor = _memory(name, content)
        self._name = name
        self.path = f"/proc/self/fd/{self._descriptor}"

    def replace(self, content: bytes) -> None:
        """At once, also for who opens it in the same moment."""
        fresh = _memory(self._name, content)
        os.dup2(fresh, self._descriptor, inheritable=False)
        os.close(fresh)

    def close(self) -> None:
        os.close(self._descriptor)


def _memory(name: str, content: bytes) -> int:
    descriptor = os.memfd_create(name)
    with open(descriptor, "wb", closefd=False) as stream:
        stream.write(content)
    return descriptor


class TlsPort:
    """The one TLS transport of the gateway. Only for the thread that owns PJSIP."""

    def __init__(self, endpoint: pj.Endpoint, transport: Transport, verify_servers: bool) -> None:
        """Listen; `verify_servers`: PJSIP refuses what does not verify. Raises SipStartError."""
        assert transport.tls is not None
        self._endpoint, self._transport, self._tls = endpoint, transport, transport.tls
        self._now = self._tls.credentials
        self._certificate = MemoryFile("tls-certificate", self._now.certificate)
        self._key = MemoryFile("tls-key", self._now.key)
        self._authorities = MemoryFile("tls-ca", self._now.ca)
        # The binding keeps pointers into these.
        self._shared = pj.SockOpt(*SHARED_PORT, 1)
        self._verify_servers = verify_servers
        check_free(transport)
        self._number = self._create(self._parameters(transport.port))
        address = endpoint.transportGetInfo(self._number).localAddress
        self.port = int(address.rpartition(":")[2]) if address else transport.port

    @property
    def credentials(self) -> Credentials:
        """What new connections are made with."""
        return self._now

    def reload(self, credentials: Credentials) -> None:
        """New connections are made with these; raises SipStartError and leaves everything as it was."""
        before = self._now
        self._show(credentials)
        try:
            number = self._create(self._parameters(self.port))
        except SipStartError:
            self._show(before)
            raise
        former, self._number = self._number, number
        self._endpoint.transportClose(former)

    def close(self) -> None:
        """PJSIP is gone."""
        for file in (self._certificate, self._key, self._authorities):
            file.close()

    def _show(self, credentials: Credentials) -> None:
        self._now = credentials
        self._certificate.replace(credentials.certificate)
        self._key.replace(credentials.key)
        self._authorities.replace(credentials.ca)

    def _parameters(self, port: int) -> pj.TransportConfig:
        parameters = pj.TransportConfig()
        parameters.port = port
        parameters.boundAddress = self._transport.bind
        parameters.publicAddress = self._transport.advertise
        tls = parameters.tlsConfig
        tls.certFile, tls.privKeyFile = self._certificate.path, self._key.path
        tls.CaListFile = self._authorities.path
        tls.proto = _PROTOCOLS[self._tls.min_version]
        tls.msecTimeout = HANDSHAKE_TIMEOUT_MS
        tls.enableRenegotiation = False
        tls.verifyServer = self._verify_servers
        tls.verifyClient = self._tls.client_certificates != "off"
        tls.requireClientCert = self._tls.client_certificates == "required"
        tls.sockOptParams.sockOpts.append(self._shared)
        return parameters

    def _create(self, parameters: pj.TransportConfig) -> int:
        kind = pj.PJSIP_TRANSPORT_TLS6 if self._transport.ipv6 else pj.PJSIP_TRANSPORT_TLS
        try:
            return int(self._endpoint.transportCreate(kind, parameters))
        except pj.Error as error:
            cure = "correct `bind`, `port` and `advertise`"
            raise SipStartError(f"SIP cannot listen on {self._transport}: {error.reason}. Cure: {cure}") from None
