# SPDX-License-Identifier: GPL-2.0-or-later
"""TLS on the way to an agent, without waiting for anybody: OpenSSL in memory, between socket and protocol.

    recv_into()  <- plain <- SSLObject <- incoming BIO <- socket
    sendmsg()    -> plain -> SSLObject -> outgoing BIO -> socket

A handshake goes on whenever the socket can be read or written (`shake`).  Reading a file
of authorities takes 40 ms for the usual 140 of them, in which no caller would be sent
anything: a thread does it, once for all connections, and again when the file has changed.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Sequence
from pathlib import Path

READ_BYTES = 1 << 15
"Two records, read at once; what is behind them the poller names again."
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""With TLS 1.2; 1.3 has no others. With DHE the agent chooses the numbers, and how long all calls wait for the sum:
0.8 s for 10,000 bits."""
SEND_BYTES = 1 << 16
"Encrypted at a time; no more before the kernel has taken it."

_CURES = {
    9: "it is not valid yet: look at the clocks of both machines",
    10: "it has expired: renew it",
    18: "it is self-signed: name it as `ca` of this agent",
    19: "its authority is not one that is believed here: name the authority's certificate as `ca` of this agent",
    20: "its authority is not one that is believed here: name the authority's certificate as `ca` of this agent",
    21: "its chain is not complete: let the agent send the certificates between its own and the authority's",
    23: "it has been revoked: get another",
    26: "it is not for servers: get one that is",
    62: "it is for other names than the one in `address`: write one of those, or get another certificate",
    64: "it does not name the address in `address`: write its name, or get another certificate",
}
"By OpenSSL's X509_V_ERR_...: what to do about it."


class TlsFailed(Exception):
    """The agent's TLS does not work, or is not to be believed; the text says why, and what to do."""


class TlsStream:
    """A connection that is encrypted; the methods of a socket that an `AgentLink` needs."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        """`host` is what the certificate must be good for: a name, or an address."""
        self._socket = sock
        self._host = host
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._unsent = memoryview(b"")
        self._read = bytearray(READ_BYTES)
        self.more = False
        "decrypted, and not taken: no poller will tell"

    @property
    def waiting(self) -> bool:
        """Bytes that the kernel has not taken yet."""
        return bool(self._unsent) or self._outgoing.pending > 0

    def fileno(self) -> int:
        """Of the socket."""
        return self._socket.fileno()

    def shake(self) -> bool:
        """Go on with the handshake; whether it is done. Raises TlsFailed, or OSError when the connection broke."""
        try:
            self._push()
            self._pull()
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._push()
            return False
        except ssl.SSLError as error:
            with contextlib.suppress(OSError):
                self._push()  # the alert that tells the agent
            raise TlsFailed(sentence(error, self._host)) from None
        self._push()
        return True

    def recv_into(self, buffer: bytearray) -> int:
        """Take decrypted bytes; 0 at the end, BlockingIOError when there are none now."""
        try:
            n = self._decrypt(buffer)
            if n == 0:
                self._pull()
                n = self._decrypt(buffer)
        except ssl.SSLZeroReturnError:
            return 0
        except ssl.SSLEOFError:  # closed without a word of TLS: the protocol above knows whether it was complete
            return 0
        except ssl.SSLError as error:
            raise OSError(f"TLS: {error.reason or error}") from None
        if n == 0:
            raise BlockingIOError
        self._push()  # an answer to a change of keys
        return n

    def sendmsg(self, buffers: Sequence[bytes | memoryview], /) -> int:
        """Encrypt some of it and write; BlockingIOError while what was encrypted before waits."""
        self._push()
        if self.waiting:
            raise BlockingIOError
        pieces, size = [], 0
        for each in buffers:
            pieces.append(each[: SEND_BYTES - size])
            size += len(pieces[-1])
            if size >= SEND_BYTES:
                break
        if size:
            try:
                self._tls.write(b"".join(pieces))
            except ssl.SSLWantReadError:  # the other side has begun something that it must go on with first
                self._push()
                raise BlockingIOError from None
            self._push()
        return size

    def close(self) -> None:
        """Say so, if that is possible at once, and close."""
        with contextlib.suppress(ssl.SSLError, OSError, ValueError):
            self._tls.unwrap()
        with contextlib.suppress(OSError):
            self._push()
        self._socket.close()

    def _decrypt(self, buffer: bytearray) -> int:
        """As many bytes as there are, or fit."""
        view, n = memoryview(buffer), 0
        self.more = True
        while n < len(view):
            try:
                got = int(self._tls.read(len(view) - n, view[n:]))  # with a buffer, how many bytes it was
            except ssl.SSLWantReadError:
                self.more = False
                break
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                if n:
                    break  # told next time
                raise
            if not got:
                break
            n += got
        return n

    def _pull(self) -> None:
        """From the socket; raises OSError when it broke."""
        try:
            n = self._socket.recv_into(self._read)
        except (BlockingIOError, InterruptedError):
            return
        if n:
            self._incoming.write(memoryview(self._read)[:n])
        else:
            self._incoming.write_eof()

    def _push(self) -> None:
        """To the socket, as far as it takes it; raises OSError when it broke."""
        while self.waiting:
            if not self._unsent:
                self._unsent = memoryview(self._outgoing.read())
            try:
                sent = self._socket.send(self._unsent)
            except (BlockingIOError, InterruptedError):
                return
            self._unsent = self._unsent[sent:]


def sentence(error: ssl.SSLError, host: str) -> str:
    """What went wrong in a handshake with this host, a colon, and what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        cure = _CURES.get(error.verify_code, "see the agent's certificate")
        return f"its certificate is not accepted for {host} ({error.verify_message}): {cure}"
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return "what answers does not speak TLS: is it ws:// instead of wss://, or another port?"
    if isinstance(error, ssl.SSLEOFError):
        return "it closed the connection in the TLS handshake: see its own log"
    if "HANDSHAKE_FAILURE" in (error.reason or ""):
        return f"it refused the TLS handshake: see its own log; it needs TLS 1.3, or 1.2 with {CIPHERS}"
    return f"the TLS handshake failed ({error.reason or error}): see its own log"


class Contexts:
    """What OpenSSL must know of whom to believe, by file of authorities; made by a thread where that takes time."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, bool, int], ssl.SSLContext | Exception] = {}
        self._making: set[tuple[str, bool, int]] = set()

    def get(self, ca: str, verify: bool) -> ssl.SSLContext | None:
        """None: it is being made, ask again soon. Raises TlsFailed when the file cannot be used."""
        try:
            changed_ns = Path(ca).stat().st_mtime_ns if ca and verify else 0
        except OSError as error:
            raise TlsFailed(f"its `ca` {ca} cannot be read: {error.strerror}") from None
        key = ca, verify, changed_ns
        found = self._made.get(key)
        if isinstance(found, ssl.SSLContext):
            return found
        if found is not None:
            self._made.pop(key, None)
            raise TlsFailed(f"its `ca` {ca} holds no certificates that can be used: {found}")
        if not verify:
            self._made[key] = new_context(ca, verify)
        elif key not in self._making:
            self._making.add(key)
            threading.Thread(target=self._make, args=key, name="authorities", daemon=True).start()
        return None

    def _make(self, ca: str, verify: bool, changed_ns: int) -> None:
        key = ca, verify, changed_ns
        made: ssl.SSLContext | Exception
        try:
            made = new_context(ca, verify)
        except (OSError, ValueError) as error:  # SSLError is an OSError
            made = error
        # What the file was before is of no use any more.
        self._made = {other: one for other, one in self._made.items() if other[:2] != key[:2]} | {key: made}
        self._making.discard(key)


def new_context(ca: str, verify: bool) -> ssl.SSLContext:
    """For connections to an agent that names these; raises OSError when the file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca:
        context.load_verify_locations(cafile=ca)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context
