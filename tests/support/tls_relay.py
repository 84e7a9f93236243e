# SPDX-License-Identifier: GPL-2.0-or-later
"""TLS for a SIPp that was built without: it speaks TCP with the relay, and the relay TLS with the gateway.

    SIPp  -- tcp_port -->  relay  ==>  gateway's TLS port        what SIPp sends by itself
    SIPp  <-- its port --  relay  <==  port                      what the gateway sends to `port`

What SIPp writes of its own transport and port in headers is corrected on the way, and the
other way round. `plain` leaves all as it is (a digest is computed over such words).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from types import TracebackType
from typing import Self

from support.ports import free_port

CHUNK = 65_536


class TlsRelay:
    """Between one SIPp and the gateway; a context manager."""

    def __init__(
        self, sipp_port: int, gateway_port: int, server: ssl.SSLContext, client: ssl.SSLContext, *,
        plain: bool = False, scheme: str = "sip",
    ) -> None:
        """`server` is the context of what the gateway connects to, `client` that of connections to it.

        `scheme` is that of SIPp's Contact.
        """
        host = "127.0.0.1"
        self._sipp_port, self._gateway_port, self._host = sipp_port, gateway_port, host
        self._server, self._client = server, client
        self.port, self.tcp_port = free_port(), free_port()
        assert len(str(self.port)) == len(str(sipp_port))
        self._words = [
            (b"SIP/2.0/TCP", b"SIP/2.0/TLS"),
            (b"transport=TCP", b"transport=TLS"),
            (b":%d" % sipp_port, b":%d" % self.port),
        ]
        self._scheme = b"Contact: <%s:" % scheme.encode()
        if plain:
            self._words.clear()
        self._sockets: list[socket.socket] = []
        self._closing = False
        self.accepted: list[bytes | None] = []
        "connections of the gateway: the certificate that it showed on each, if we asked for one"
        self.server_names: list[str | None] = []
        "SNI that it sent"
        self.errors: list[str] = []
        server.sni_callback = lambda _, name, __: self.server_names.append(name)

    def __enter__(self) -> Self:
        for port, meet in ((self.port, self._from_gateway), (self.tcp_port, self._from_sipp)):
            listener = socket.create_server((self._host, port))
            self._sockets.append(listener)
            threading.Thread(target=self._accept, args=(listener, meet), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self, listener: socket.socket, meet: object) -> None:
        while not self._closing:
            try:
                near, _ = listener.accept()
                threading.Thread(target=self._meet, args=(near, meet), daemon=True).start()
            except OSError:
                return

    def _meet(self, near: socket.socket, meet: object) -> None:
        try:
            sipp, gateway = meet(near)  # type: ignore[operator]
        except OSError as error:
            self.errors.append(str(error))
            near.close()
            return
        self._sockets += [sipp, gateway]
        threading.Thread(target=self._pump, args=(sipp, gateway, False), daemon=True).start()
        self._pump(gateway, sipp, True)

    def _from_gateway(self, near: socket.socket) -> tuple[socket.socket, socket.socket]:
        secure = self._server.wrap_socket(near, server_side=True)
        self.accepted.append(secure.getpeercert(binary_form=True))
        return socket.create_connection((self._host, self._sipp_port)), secure

    def _from_sipp(self, near: socket.socket) -> tuple[socket.socket, socket.socket]:
        far = socket.create_connection((self._host, self._gateway_port))
        secure = self._client.wrap_socket(far, server_hostname=self._host)
        return near, secure

    def _pump(self, source: socket.socket, target: socket.socket, to_sipp: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                for plain, secure in self._words:
                    data = data.replace(secure, plain) if to_sipp else data.replace(plain, secure)
                if not to_sipp:
                    data = data.replace(b"Contact: <sip:", self._scheme)
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
