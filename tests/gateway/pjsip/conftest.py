# SPDX-License-Identifier: GPL-2.0-or-later
"""A pjproject small enough to be built in a second, and programs that stand in for the system's."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

VERSION = "export PJ_VERSION_MAJOR  := 9\nexport PJ_VERSION_MINOR  := 1\nexport PJ_VERSION_REV    :=\n"
LIBRARIES = ("pjlib", "pjlib-util", "pjnath", "third_party", "pjmedia", "pjsip")
# A build backend of its own, so that pip fetches nothing; it reads the tag where setuptools would.
BACKEND = """
import configparser, pathlib, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    setup = configparser.ConfigParser()
    setup.read("setup.cfg")
    version = "9.1" + setup["egg_info"]["tag_build"]
    name = f"pjsua2-{version}-py3-none-any.whl"
    limits = pathlib.Path("../../../../pjlib/include/pj/config_site.h").read_text()
    info = f"pjsua2-{version}.dist-info"
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
        wheel.writestr("pjsua2.py", f"LIMITS = {limits!r}")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: pjsua2\\nVersion: {version}\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the user's cache or reads the user's choice of a source."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TRUNKLINE_PJPROJECT", raising=False)
    return tmp_path / "cache" / "trunkline"


@pytest.fixture
def pjproject(tmp_path: Path) -> Path:
    """A folder with the shape of pjproject; its makefiles note that they were run."""
    root = tmp_path / "upstream" / "pjproject-9.1"
    for library in LIBRARIES:
        (root / library / "build").mkdir(parents=True)
        (root / library / "build" / "Makefile").write_text("lib:\n\t@echo compiled $(CFLAGS) >> made\n")
    for folder in ("pjlib/include/pj", "pjmedia/src/pjmedia-audiodev", "pjsip-apps/src/swig/python"):
        (root / folder).mkdir(parents=True)
    (root / "version.mak").write_text(VERSION)
    (root / "configure").write_text('#!/bin/sh\necho "configured $*"\n')
    (root / "configure").chmod(0o755)
    binding = root / "pjsip-apps/src/swig/python"
    (binding / "Makefile").write_text("pjsua2_wrap.cpp:\n\t@echo generated > $@\n")
    (binding / "backend.py").write_text(BACKEND)
    (binding / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    return root


@pytest.fixture
def tarball(pjproject: Path, tmp_path: Path) -> Path:
    """The same, packed as Debian packs it."""
    path = tmp_path / "asterisk_1.orig-Xpjproject.tar.xz"
    with tarfile.open(path, "w:xz") as archive:
        archive.add(pjproject, pjproject.name)
    return path


@pytest.fixture
def fake_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Put a shell script of that name before everything else on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")

    def make(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make
