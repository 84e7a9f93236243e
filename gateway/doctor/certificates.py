# SPDX-License-Identifier: GPL-2.0-or-later
"""The TLS transport's certificate: does it fit its key, is it for us, how long does it last?"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator, Mapping

from trunkline.gateway.certificate_watch import WARN_DAYS
from trunkline.gateway.certificates import CertificateError, Files, Found, read
from trunkline.gateway.config import Config
from trunkline.gateway.config.model import SipTransport
from trunkline.gateway.doctor.finding import Finding, fail, ok, warn

NAME = "TLS certificate"


def examine(config: Config, environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Nothing without a TLS transport."""
    tls = config.tls
    if tls is None:
        return
    try:
        found = read(files_of(config, tls, environ))
    except (CertificateError, OSError, UnicodeDecodeError) as error:
        yield fail(NAME, str(error), "correct [[sip.transport]], or the file")
        return
    yield about_time(found, dt.datetime.now(dt.UTC))
    yield about_names(found, tls)


def files_of(config: Config, tls: SipTransport, environ: Mapping[str, str]) -> Files:
    """The files, with the key's password."""
    password = environ.get(tls.key_password_env, "") if tls.key_password_env else ""
    if tls.key_password_file:
        password = config.resolve_path(tls.key_password_file).read_text(encoding="utf-8").strip("\r\n")
    ca = config.resolve_path(tls.ca) if tls.ca else None
    return Files(config.resolve_path(tls.certificate), config.resolve_path(tls.key), ca, password)


def about_time(found: Found, now: dt.datetime) -> Finding:
    """Valid now, and for a while."""
    if problem := found.problem(now):
        return fail(NAME, problem, "renew it: peers that check refuse it; a running gateway takes it up by itself")
    days = (found.not_after - now).total_seconds() / 86_400
    text = f"for {', '.join(found.names) or 'nobody'}, valid until {found.not_after:%Y-%m-%d} ({days:.0f} days)"
    if days < WARN_DAYS:
        return warn(NAME, text, "renew it; a running gateway takes it up by itself")
    return ok(NAME, text)


def about_names(found: Found, tls: SipTransport) -> Finding:
    """Peers compare it with the host that they were told to call."""
    name = "TLS names"
    if any("*" in one for one in found.names):
        return warn(name, f"{', '.join(found.names)}: SIP knows no wildcards (RFC 5922)", "name each host in it")
    if not found.names:
        return warn(name, "the certificate is for nobody", "get one with the name that peers call (subjectAltName)")
    host = tls.advertise or ("" if tls.bind in ("0.0.0.0", "::") else tls.bind)
    if host and not found.covers(host):
        text = f"{', '.join(found.names)}, and not {host}, which our Contact says"
        return warn(name, text, f"set `advertise` to a name of the certificate, or get one for {host}")
    return ok(name, ", ".join(found.names))
