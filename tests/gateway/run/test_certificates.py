# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificate files: what is wrong with them is said in a sentence, and nothing of a key is ever shown."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import pathlib
import time
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs

from support.certificates import Authority, Pair
from trunkline.gateway import certificate_watch
from trunkline.gateway.certificate_watch import CertificateWatch
from trunkline.gateway.certificates import CertificateError, Files, Found, read
from trunkline.gateway.metrics import Metrics
from trunkline.gateway.sip.messages import ReloadCertificates


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def files(pair: Pair, authority: Authority, password: str = "") -> Files:
    return Files(pair.certificate, pair.key, authority.certificate, password)


@pytest.fixture
def authority(tmp_path: pathlib.Path) -> Authority:
    return Authority(tmp_path, intermediate=True)


def test_what_fits_together_is_taken_with_its_names_and_its_end(authority: Authority) -> None:
    found = read(files(authority.issue("a", ["sip.example.com", "192.0.2.1"], days=20), authority))
    assert found.names == ("sip.example.com", "192.0.2.1")
    assert dt.timedelta(days=19) < found.not_after - now() < dt.timedelta(days=20, minutes=1)
    assert found.credentials.certificate.count(b"BEGIN CERTIFICATE") == 2, "the chain is kept"
    assert found.problem(now()) == "" and found.covers("SIP.example.com") and not found.covers("example.com")
    assert b"PRIVATE KEY" in found.credentials.key
    assert "PRIVATE" not in repr(found) and "PRIVATE" not in str(found.credentials)


def test_an_encrypted_key_is_opened_with_its_password_only(authority: Authority) -> None:
    pair = authority.issue("a", password="s3cret-pass")
    assert b"ENCRYPTED" not in read(files(pair, authority, "s3cret-pass")).credentials.key
    for password, said in (("", "is encrypted and needs a password"), ("wrong", "the password is wrong")):
        with pytest.raises(CertificateError, match=said) as caught:
            read(files(pair, authority, password))
        assert "wrong" not in str(caught.value).replace("the password is wrong", "")
    with pytest.raises(CertificateError, match="is not encrypted"):
        read(files(authority.issue("b"), authority, "s3cret-pass"))


@pytest.mark.parametrize(
    ("part", "content", "said"),
    [
        ("certificate", None, r"certificate\) cannot be read: No such file"),
        ("key", None, r"key\) cannot be read: No such file"),
        ("ca", None, r"ca\) cannot be read: No such file"),
        ("certificate", b"", "holds no certificate in PEM form"),
        ("ca", b"\x00" * 100, "holds no certificate in PEM form"),
        ("key", b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", "holds no private key"),
        ("key", b"x" * (4 * 1024 * 1024 + 1), "longer than"),
    ],
)
def test_files_that_are_no_good(authority: Authority, part: str, content: bytes | None, said: str) -> None:
    where = files(authority.issue("a"), authority)
    path: pathlib.Path = getattr(where, part)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CertificateError, match=said) as caught:
        read(where)
    assert "c2Vj" not in str(caught.value)


def test_a_key_of_another_certificate(authority: Authority) -> None:
    one, two = authority.issue("a"), authority.issue("b")
    with pytest.raises(CertificateError, match="is not the key of the first certificate in"):
        read(files(Pair(one.certificate, two.key), authority))


def test_without_a_ca_the_systems_authorities_are_believed(authority: Authority) -> None:
    where = dataclasses.replace(files(authority.issue("a"), authority), ca=None)
    assert read(where).credentials.ca.count(b"BEGIN CERTIFICATE") > 20


@pytest.mark.parametrize(("days", "since", "said"), [(-1, 1, "has expired"), (30, -1, "is not valid before")])
def test_dates(authority: Authority, days: float, since: float, said: str) -> None:
    pair = authority.issue("a", days=days, since_days=since)
    assert said in read(files(pair, authority)).problem(now())


# Of the curve secp224k1, which OpenSSL has and cryptography has not; made by openssl for this test alone.
ODD_KEY = """-----BEGIN PRIVATE KEY-----
MHkCAQAwEAYHKoZIzj0CAQYFK4EEACAEYjBgAgEBBB0AVCbk90MR94jM7mrOoy76
51yqsI9U8nIU0Vp4UqE8AzoABFYdcmgC0KP+LHaVvomF2EVqHXRQmAE795w1WhoR
j4+KRU6L8pggEidstDdg/l3Ihf/sFwxkHTnF
-----END PRIVATE KEY-----
"""
ODD_CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBXDCCAQqgAwIBAgIUcHCEdp7UqXSO3vS7jvzFE81VVcwwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBeDAgFw0yNjExMjYxNTUyMzFaGA8yMTI2MTEwMjE1NTIzMVow
DDEKMAgGA1UEAwwBeDBOMBAGByqGSM49AgEGBSuBBAAgAzoABFYdcmgC0KP+LHaV
vomF2EVqHXRQmAE795w1WhoRj4+KRU6L8pggEidstDdg/l3Ihf/sFwxkHTnFo1Mw
UTAdBgNVHQ4EFgQUo5SiCRLdlGRe3N7cg5TiXstI0eEwHwYDVR0jBBgwFoAUo5Si
CRLdlGRe3N7cg5TiXstI0eEwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNA
ADA9Ah0A80UPUn5dmMhN4Uys/V9EyFdPVT9ip6zJZdus1gIcEeYwW9JmylX6ctrS
jAX8CxPDwDPRmw4bl7IeBQ==
-----END CERTIFICATE-----
"""


@pytest.mark.parametrize(("part", "content"), [("key", ODD_KEY), ("certificate", ODD_CERTIFICATE)])
def test_a_key_of_a_curve_that_nobody_knows(authority: Authority, part: str, content: str) -> None:
    where = files(authority.issue("a"), authority)
    path: pathlib.Path = getattr(where, part)
    path.write_text(content)
    with pytest.raises(CertificateError, match=f"{path} .*a key that TLS cannot use"):
        read(where)


def test_a_key_that_is_too_weak_for_openssl(authority: Authority) -> None:
    """It fits its certificate, and every handshake would fail; encrypted or not, nobody is asked for a password."""
    weak, strong = (rsa.generate_private_key(65537, bits) for bits in (1024, 2048))
    pair = authority.issue("a", key=weak, password="s3cret-pass")
    said = f"{pair.certificate} is refused by this system's OpenSSL: .*key too small"
    with pytest.raises(CertificateError, match=said):
        read(files(pair, authority, "s3cret-pass"))
    read(files(authority.issue("b", key=strong, password="x" * 300), authority, "x" * 300))


class Watched:
    """A watch whose SIP thread takes everything, or refuses it for `refusal`."""

    def __init__(self, where: Files) -> None:
        self.metrics, self.taken, self.refusal = Metrics(), [], ""
        self.watch = CertificateWatch(where, self.metrics, self._post)

    taken: list[bytes]

    def _post(self, command: ReloadCertificates) -> None:
        if not self.refusal:
            self.taken.append(command.credentials.certificate)
        command.done(self.refusal)

    def metric(self, name: str) -> float:
        value = self.metrics.registry.get_sample_value(name)
        assert value is not None
        return value


def replace(old: Pair, new: Pair) -> None:
    new.certificate.replace(old.certificate)
    new.key.replace(old.key)


def test_changed_files_are_taken_up_when_they_are_whole(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate_watch, "LOOK_INTERVAL_S", 0.02)
    pair, new = authority.issue("a", days=20), authority.issue("b", days=25)
    watched = Watched(files(pair, authority))

    async def scene(condition: Callable[[], bool]) -> None:
        task = asyncio.create_task(watched.watch.follow())
        for _ in range(300):
            if condition():
                break
            await asyncio.sleep(0.01)
        task.cancel()

    watched.watch.first()
    before = watched.metric("trunkline_certificate_expiry_timestamp_seconds")
    asyncio.run(scene(lambda: False))
    assert watched.taken == [], "nothing has changed"
    wanted = new.certificate.read_bytes()
    new.certificate.replace(pair.certificate)
    with capture_logs() as logs:
        asyncio.run(scene(lambda: any(one["event"] == "certificates.kept" for one in logs)))
    kept = [one for one in logs if one["event"] == "certificates.kept"]
    assert len(kept) == 1 and "is not the key of" in kept[0]["detail"] and watched.taken == []
    new.key.replace(pair.key)
    asyncio.run(scene(lambda: bool(watched.taken)))
    assert watched.taken == [wanted]
    after = watched.metric("trunkline_certificate_expiry_timestamp_seconds")
    assert after - before == pytest.approx(5 * 86_400, abs=60)


def test_a_failure_of_ours_is_told_and_the_next_files_are_taken(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate_watch, "LOOK_INTERVAL_S", 0.01)
    pair = authority.issue("a")
    watched = Watched(files(pair, authority))
    watched.watch.first()
    wanted = authority.issue("c")
    content = wanted.certificate.read_bytes()

    def broken(where: Files) -> Found:
        raise RuntimeError("not thought of")

    async def scene() -> None:
        task = asyncio.create_task(watched.watch.follow())
        with monkeypatch.context() as patched, capture_logs() as logs:
            patched.setattr(certificate_watch, "read", broken)
            replace(pair, authority.issue("b"))
            await until(lambda: bool(logs))
        assert [one["event"] for one in logs] == ["certificates.look_failed"]
        replace(pair, wanted)
        await until(lambda: bool(watched.taken))
        task.cancel()

    asyncio.run(scene())
    assert watched.taken == [content]


def test_the_end_is_told_again_while_it_comes_nearer(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a day in a gateway that runs for weeks; a day is a fifth of a second here."""
    monkeypatch.setattr(certificate_watch, "LOOK_INTERVAL_S", 0.01)
    monkeypatch.setattr(certificate_watch, "REMIND_INTERVAL_S", 0.2)
    watched = Watched(files(authority.issue("a", days=3), authority))
    told: list[float] = []

    async def scene() -> None:
        begun = time.monotonic()
        task = asyncio.create_task(watched.watch.follow())
        with capture_logs() as logs:
            await until(lambda: len(logs) == 2)
        told.append(time.monotonic() - begun)
        task.cancel()
        assert {one["event"] for one in logs} == {"certificates.expiring"}

    with capture_logs() as first:
        watched.watch.first()
    assert [one["event"] for one in first] == ["certificates.expiring"]
    asyncio.run(scene())
    assert told[0] >= 0.2, "not with every look"


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("did not come about")


def test_what_the_sip_thread_or_the_calendar_refuses_is_not_taken(authority: Authority) -> None:
    pair = authority.issue("a")
    watched = Watched(files(pair, authority))
    watched.watch.first()
    watched.refusal = "SIP cannot listen"
    with capture_logs() as logs:
        assert not asyncio.run(watched.watch.reload("SIGHUP"))
    assert logs[0]["detail"] == "SIP cannot listen"
    watched.refusal = ""
    replace(pair, authority.issue("b", days=-1))
    with capture_logs() as logs:
        assert not asyncio.run(watched.watch.reload("SIGHUP"))
    assert "has expired" in logs[0]["detail"] and watched.taken == []
    replace(pair, authority.issue("c", days=3))
    with capture_logs() as logs:
        assert asyncio.run(watched.watch.reload("SIGHUP"))
    assert [one["event"] for one in logs] == ["certificates.expiring", "certificates.reloaded"]
    count = watched.metrics.registry.get_sample_value
    assert count("trunkline_certificate_reloads_total", {"result": "ok"}) == 1
    assert count("trunkline_certificate_reloads_total", {"result": "refused"}) == 2


def test_a_sip_thread_that_does_not_answer_keeps_nobody_waiting(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next look must come; and an answer that comes too late does no harm."""
    monkeypatch.setattr(certificate_watch, "HAND_OVER_S", 0.05)
    commands: list[ReloadCertificates] = []
    watch = CertificateWatch(files(authority.issue("a"), authority), Metrics([]), commands.append)

    async def scenario() -> bool:
        taken = await asyncio.wait_for(watch.reload("SIGHUP"), 5)
        errors: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        commands[0].done("")
        await asyncio.sleep(0.05)
        assert not errors
        return taken

    with capture_logs() as logs:
        assert not asyncio.run(scenario())
    assert "has not answered" in logs[0]["detail"]
