# SPDX-License-Identifier: GPL-2.0-or-later
"""The TLS transport's files while the gateway runs: read at the start, on SIGHUP, and when they change.

What is wrong with new files is logged once, and what is in use stays in use.  Files that
change together do not change at one moment, so they must have been the same for one look
before they are read.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable

from trunkline.gateway import logs
from trunkline.gateway.certificates import CertificateError, Files, Found, read
from trunkline.gateway.metrics import Metrics
from trunkline.gateway.sip.messages import ReloadCertificates

LOOK_INTERVAL_S = 5.0
HAND_OVER_S = 15.0
"The SIP thread needs milliseconds."
WARN_DAYS = 14
"Certificates of 90 days are renewed a month before they end: then nobody sees to it."

REMIND_INTERVAL_S = 86_400.0
"How soon the end of the certificate in use is looked at again: it may run for longer than a certificate has left."

log = logs.get_logger("trunkline.gateway")


class CertificateWatch:
    """Keeps the SIP thread's credentials up to date."""

    def __init__(self, files: Files, metrics: Metrics, post: Callable[[ReloadCertificates], None]) -> None:
        self._files, self._metrics, self._post = files, metrics, post
        self._seen = files.signature
        "of what is in use or was refused"
        self._last = self._seen
        self._found: Found | None = None
        "what is in use"
        self._judged = 0.0
        "when it was last looked at, by the monotonic clock"

    def first(self) -> Found:
        """What to start with. Raises CertificateError."""
        found = read(self._files)
        self._in_use(found)
        return found

    async def follow(self) -> None:
        """Look for changes until cancelled."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            signature = await asyncio.to_thread(lambda: self._files.signature)
            steady, self._last = signature == self._last, signature
            if self._found is not None and time.monotonic() - self._judged >= REMIND_INTERVAL_S:
                self._judge(self._found)
            if steady and signature != self._seen:
                try:
                    await self.reload("the files have changed")
                except Exception:  # the next files may be better, and nobody else looks for them
                    log.exception("certificates.look_failed", cure="report it; what is in use stays in use")

    async def reload(self, why: str) -> bool:
        """Read again and hand over; whether the new ones are in use."""
        self._seen = self._files.signature
        try:
            found = await asyncio.to_thread(read, self._files)
        except CertificateError as error:
            return self._kept(str(error), why)
        problem = found.problem(dt.datetime.now(dt.UTC)) or await self._hand_over(found)
        if problem:
            return self._kept(problem, why)
        self._metrics.certificate_reloaded(ok=True)
        self._in_use(found)
        log.info(
            "certificates.reloaded", why=why, names=", ".join(found.names), expires=found.not_after.isoformat()
        )
        return True

    def _kept(self, problem: str, why: str) -> bool:
        self._metrics.certificate_reloaded(ok=False)
        cure = "mend the files; they are read when they change"
        log.error("certificates.kept", detail=problem, why=why, cure=cure)
        return False

    async def _hand_over(self, found: Found) -> str:
        """Empty when the SIP thread has taken them, else why not."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()

        def settle(problem: str) -> None:
            if not answer.done():
                answer.set_result(problem)

        def done(problem: str) -> None:
            loop.call_soon_threadsafe(settle, problem)

        self._post(ReloadCertificates(found.credentials, done))
        try:
            return await asyncio.wait_for(answer, HAND_OVER_S)
        except TimeoutError:  # it may still take them, for the file is good; what it says then is lost
            return f"the SIP thread has not answered within {HAND_OVER_S:.0f} s"

    def _in_use(self, found: Found) -> None:
        self._found = found
        self._metrics.certificate_expires(found.not_after.timestamp())
        self._judge(found)

    def _judge(self, found: Found) -> None:
        self._judged = time.monotonic()
        now = dt.datetime.now(dt.UTC)
        days = (found.not_after - now).total_seconds() / 86_400
        if problem := found.problem(now):
            log.error("certificates.invalid", detail=f"{problem}; peers that check will refuse it", cure="renew it")
        elif days < WARN_DAYS:
            file = str(self._files.certificate)
            log.warning("certificates.expiring", days=round(days, 1), file=file, cure="renew it")
