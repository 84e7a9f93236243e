# SPDX-License-Identifier: GPL-2.0-or-later
"""What the Python binding of PJSIP leaves out: four functions in its own library, and one pointer.

The extension module carries all of PJSIP and exports its symbols, and these
functions take nothing but pointers that the binding hands out and small integers.
Where a build hides its symbols the calls report that they did nothing, and PJSIP's
defaults hold.  The one thing that is known of the layout of a C structure is where a
message says on which transport it came (`transport_of`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Container
from typing import Any

import pjsua2 as pj
import structlog

log = structlog.get_logger(__name__)

TRANSPORT_OFFSET = ctypes.sizeof(ctypes.c_void_p)
"of `tp_info.transport` in a `pjsip_rx_data`, behind `tp_info.pool` (sip_transport.h, since PJSIP 1.0)"


def transport_of(request: Any) -> int:
    """PJSIP's handle of the transport that a message has come on; 0 for no message.

    Only to be compared with handles that PJSIP has given by itself: were another pointer at this place, it would
    be equal to none of them.
    """
    address = int(request) if request is not None else 0
    return ctypes.c_void_p.from_address(address + TRANSPORT_OFFSET).value or 0 if address else 0


class Native:
    """PJSIP behind the binding. Only for the thread that owns it."""

    def __init__(self) -> None:
        self.tls: Container[int] = ()
        "handles of the TLS connections that are up"
        pointer = ctypes.c_void_p
        try:
            library = ctypes.CDLL(pj._pjsua2.__file__)
            self._dialog_of = library.pjsip_tsx_get_dlg
            self._dialog_of.argtypes, self._dialog_of.restype = [pointer], pointer
            self._respond = library.pjsip_dlg_respond
            self._respond.argtypes = [pointer, pointer, ctypes.c_int, pointer, pointer, pointer]
            self._call_count = library.pjsua_call_get_count
            self._set_log_level = library.pj_log_set_level
            self._shut_down = library.pjsip_transport_shutdown
            self._shut_down.argtypes = [pointer]
            self.available = True
        except (AttributeError, OSError) as error:
            log.warning(
                "sip.native_missing", detail=str(error), lost="INFO of unknown type gets 500, not 415"
            )
            self.available = False

    def respond(self, transaction: Any, request: Any, code: int) -> bool:
        """Answer a request within a dialog, before PJSIP does; False when that cannot be done."""
        if not self.available:
            return False
        dialog = self._dialog_of(int(transaction))
        return bool(dialog) and self._respond(dialog, int(request), code, None, None, None) == 0

    def by_tls(self, request: Any) -> bool:
        """Whether PJSIP has received a message by TLS."""
        return transport_of(request) in self.tls

    def call_count(self) -> int | None:
        """Calls that PJSIP still holds a dialog for, those with an unanswered BYE included."""
        return int(self._call_count()) if self.available else None

    def shut_down(self, transport: int) -> None:
        """Send nothing more on a connection, and close it; the binding's own form does not take its own handle."""
        self._shut_down(transport)

    def quiet(self) -> None:
        """No log lines on standard output between creation and configuration of the library."""
        if self.available:
            self._set_log_level(0)
