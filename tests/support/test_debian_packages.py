# SPDX-License-Identifier: GPL-2.0-or-later
"""The fetcher of the test Asterisk: what the lock file names and nothing else, once."""

from __future__ import annotations

import hashlib
import pathlib

import pytest

from support.debian_packages import FetchFailed, Package, _locked, read_lock

LOCK = pathlib.Path(__file__).with_name("asterisk") / "asterisk.lock"
DATA = b"a package"


def package(sha256: str = hashlib.sha256(DATA).hexdigest()) -> Package:
    """A package of the mirror below."""
    return Package("p", "1", len(DATA), sha256, "pool/p_1_amd64.deb")


@pytest.fixture
def mirror(tmp_path: pathlib.Path) -> str:
    """A mirror with one package."""
    (tmp_path / "mirror/pool").mkdir(parents=True)
    (tmp_path / "mirror/pool/p_1_amd64.deb").write_bytes(DATA)
    (tmp_path / "cache").mkdir()
    return f"file://{tmp_path}/mirror"


def test_the_lock_file_names_every_package_with_its_hash() -> None:
    suite, packages = read_lock(LOCK)
    assert suite == "forky" and {"asterisk", "asterisk-modules", "libc6"} <= {one.name for one in packages}
    assert all(
        len(one.sha256) == 64 and one.file.endswith("_amd64.deb") and one.size_bytes > 0 for one in packages
    )


def test_a_file_is_fetched_once_and_then_taken_from_the_cache(mirror: str, tmp_path: pathlib.Path) -> None:
    file = _locked(package(), mirror=mirror, cache=tmp_path / "cache")
    assert file.read_bytes() == DATA
    (tmp_path / "mirror/pool/p_1_amd64.deb").unlink()
    assert _locked(package(), mirror=mirror, cache=tmp_path / "cache") == file


def test_another_file_than_the_locked_one_is_refused(mirror: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(FetchFailed, match="checksum"):
        _locked(package("0" * 64), mirror=mirror, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir()), "and not kept"


def test_a_damaged_file_in_the_cache_is_fetched_again(mirror: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "cache/p_1_amd64.deb").write_bytes(b"half a pack")
    assert _locked(package(), mirror=mirror, cache=tmp_path / "cache").read_bytes() == DATA
