# SPDX-License-Identifier: GPL-2.0-or-later
"""Which source is taken, and that a wrong one is refused in words."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from trunkline.gateway.pjsip import debian
from trunkline.gateway.pjsip.errors import NoSource
from trunkline.gateway.pjsip.source import describe, find_source, parse_version


def test_a_version_is_read_as_pjproject_itself_reads_it() -> None:
    """Empty parts vanish, a revision and a suffix are appended."""
    makefile = "export PJ_VERSION_MAJOR := 2\nexport PJ_VERSION_MINOR := 14\n"
    assert parse_version(makefile + "export PJ_VERSION_REV :=\nexport PJ_VERSION_SUFFIX :=\n") == "2.14"
    assert (
        parse_version(makefile + "export PJ_VERSION_REV := 1\nexport PJ_VERSION_SUFFIX := -dev\n")
        == "2.14.1-dev"
    )


def test_folder_and_tarball_are_both_known_by_their_version(pjproject: Path, tarball: Path) -> None:
    """Only the root's version counts."""
    assert describe(pjproject).version == "9.1"
    assert describe(tarball).version == "9.1"


def test_a_named_source_comes_before_the_variable(
    pjproject: Path, tarball: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is typed wins over what is in the environment; either wins over a download."""
    monkeypatch.setenv("TRUNKLINE_PJPROJECT", str(tarball))
    assert find_source().path == tarball
    assert find_source(pjproject).path == pjproject


@pytest.mark.parametrize("kind", ["missing", "folder", "text", "archive"])
def test_what_is_not_pjproject_is_refused_with_a_reason(kind: str, tmp_path: Path) -> None:
    """A named source that is no good never leads to another one."""
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("not an archive")
    elif kind == "archive":
        with tarfile.open(path, "w") as archive:
            archive.add(__file__, "root/version.txt")
    with pytest.raises(NoSource) as refusal:
        find_source(path)
    assert str(path) in refusal.value.reason
    assert "version.mak" in refusal.value.cure


def test_a_changed_file_in_a_folder_makes_another_source(pjproject: Path) -> None:
    """Whoever patches PJSIP gets a new build, not the cached wheel."""
    before = describe(pjproject).digest
    assert describe(pjproject).digest == before
    (pjproject / "pjlib" / "patched.c").write_text("int patched;")
    assert describe(pjproject).digest != before


def test_the_users_folder_is_copied_without_what_was_built_in_it(pjproject: Path, tmp_path: Path) -> None:
    """Objects of another configuration must not be linked, and the user's tree stays as it is."""
    (pjproject / "pjlib" / "old.o").write_bytes(b"other flags")
    copy = describe(pjproject).lay_out(tmp_path)
    assert copy != pjproject
    assert (copy / "version.mak").exists()
    assert not (copy / "pjlib" / "old.o").exists()


@pytest.mark.parametrize("name", ["../../outside", "/outside", "root/link/outside"])
def test_a_tarball_cannot_write_outside_of_its_folder(name: str, tarball: Path, tmp_path: Path) -> None:
    """A named tarball may come from anywhere, and Debian 12's Python has no filters for it."""
    path = tmp_path / "evil.tar"
    version = tmp_path / "version.mak"
    version.write_text("export PJ_VERSION_MAJOR := 2\nexport PJ_VERSION_MINOR := 1\n")
    with tarfile.open(path, "w") as archive:
        archive.add(version, "root/version.mak")
        if "link" in name:
            link = tarfile.TarInfo("root/link")
            link.type, link.linkname = tarfile.SYMTYPE, "../../.."
            archive.addfile(link)
        member = tarfile.TarInfo(name)
        archive.addfile(member)
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    with pytest.raises(NoSource, match="outside of its folder"):
        describe(path).lay_out(folder)
    assert list(folder.iterdir()) == []
    assert describe(tarball).lay_out(folder).is_dir()


def test_debian_is_asked_without_touching_the_machines_lists(
    tarball: Path, fake_program: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """apt gets a sources list of its own, with the mirror that is configured; forky comes before sid."""
    monkeypatch.setattr(debian, "KEYRING", tarball)
    calls = tmp_path / "calls"
    fake_program(
        "apt-get",
        f"""
        echo "$@" >> {calls}
        case "$*" in
        indextargets*) echo "Debian http://mirror.example/security/"; echo "Debian http://mirror.example/debian/" ;;
        *sid*) ;;
        *source*) case "$(cat ../sources.list)" in
            *" forky "*) echo "E: Unable to find a source package for asterisk" >&2; exit 100 ;;
            *) cp ../sources.list {tmp_path}/used; cp {tarball} . ;;
            esac ;;
        esac""",
    )
    source = find_source()
    assert source.version == "9.1"
    used = (tmp_path / "used").read_text()
    assert "http://mirror.example/debian/ sid main" in used
    assert f"signed-by={tarball}" in used
    updates = [line for line in calls.read_text().splitlines() if line.endswith("update")]
    assert len(updates) == 2
    assert all("Dir::Etc::sourceparts=/dev/null" in line and "Dir::State::lists=" in line for line in updates)


def test_the_fetched_tarball_is_kept(
    tarball: Path, cache: Path, fake_program: Callable[[str, str], Path]
) -> None:
    """The second time works without a network."""
    fake_program("apt-get", "exit 100")
    (cache / "sources").mkdir(parents=True)
    kept = cache / "sources" / tarball.name
    kept.write_bytes(tarball.read_bytes())
    assert find_source().path == kept


def test_without_a_mirror_the_person_is_asked_for_a_tarball(
    tarball: Path, fake_program: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """apt's own first complaint is the reason."""
    monkeypatch.setattr(debian, "KEYRING", tarball)
    fake_program("apt-get", "echo 'E: Failed to fetch http://x Could not resolve' >&2; exit 100")
    with pytest.raises(NoSource, match="Could not resolve") as refusal:
        find_source()
    assert "--source PATH" in refusal.value.cure
    monkeypatch.setattr(debian, "KEYRING", tarball / "missing")
    with pytest.raises(NoSource, match="signature"):
        find_source()
