# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding pjproject's source and laying out a tree that may be built in.

In this order: what the user names (`--source`, then TRUNKLINE_PJPROJECT), the
tarball that an earlier run fetched, Debian's source package.  A named source
that is no good is an error, never a reason to take another one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import posixpath
import re
import shutil
import tarfile
from pathlib import Path

from trunkline.gateway.pjsip import debian
from trunkline.gateway.pjsip.errors import NoSource
from trunkline.gateway.pjsip.paths import cache_folder

VARIABLE = "TRUNKLINE_PJPROJECT"
_BUILT = shutil.ignore_patterns("*.o", "*.a", "*.so", "*.depend", ".git", "output")


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A pjproject folder or tarball."""

    path: Path
    version: str
    "pjproject's own, such as 2.17"
    digest: str
    "hash of the tarball, or of the folder's files: part of the cached wheel's key"

    def lay_out(self, folder: Path) -> Path:
        """Put a copy below `folder` and return its root; the original is never touched."""
        if self.path.is_dir():
            return Path(shutil.copytree(self.path, folder / "pjproject", symlinks=True, ignore=_BUILT))
        with tarfile.open(self.path) as archive:
            for member in archive:
                if escapes(member):
                    raise _unusable(
                        self.path, f"its member {member.name} would be written outside of its folder"
                    )
            # Python says so too since 3.12; Debian 12's has no filters, hence the check above.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(folder)  # noqa: S202 - checked
        return _root_below(folder, self.path)


def find_source(named: Path | None = None) -> Source:
    """The source to build from, fetched if need be; raises NoSource."""
    if named is None and os.environ.get(VARIABLE):
        named = Path(os.environ[VARIABLE])
    if named is not None:
        return describe(named.expanduser().resolve())
    folder = cache_folder("sources")
    fetched = sorted(folder.glob("*pjproject*.tar.*"), key=lambda path: path.stat().st_mtime)
    return describe(fetched[-1] if fetched else debian.fetch_tarball(folder))


def describe(path: Path) -> Source:
    """Read the version of a folder or tarball; raises NoSource when it is not pjproject."""
    if path.is_dir():
        makefile = path / "version.mak"
        if not makefile.is_file():
            raise _unusable(path, "it has no version.mak")
        return Source(path, parse_version(makefile.read_text(encoding="utf-8")), _folder_digest(path))
    if not path.is_file():
        raise _unusable(path, "there is no such file or folder")
    try:
        text = _version_in(path)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise _unusable(path, f"it cannot be read as a tar archive ({error})") from error
    return Source(path, parse_version(text), hashlib.sha256(path.read_bytes()).hexdigest())


def parse_version(makefile: str) -> str:
    """Version out of version.mak, as pjproject's own setup.py puts it together.

    >>> parse_version("export PJ_VERSION_MAJOR := 2\\nexport PJ_VERSION_MINOR := 17\\n")
    '2.17'
    """
    parts = dict(re.findall(r"^export PJ_VERSION_(\w+)\s*:?=[ \t]*(\S*)", makefile, re.MULTILINE))
    numbers = [parts[name] for name in ("MAJOR", "MINOR", "REV") if parts.get(name)]
    return ".".join(numbers) + parts.get("SUFFIX", "")


def escapes(member: tarfile.TarInfo) -> bool:
    """Whether unpacking could write outside of the folder: by name, by link, or as a device."""
    if not (member.isfile() or member.isdir() or member.issym()):
        return True
    paths = [member.name]
    if member.issym():
        paths.append(posixpath.join(posixpath.dirname(member.name), member.linkname))
    return any(path.startswith("/") or posixpath.normpath(path).startswith("..") for path in paths)


def _version_in(tarball: Path) -> str:
    with tarfile.open(tarball) as archive:
        for member in archive:
            # Only the root's; third_party has version files of its own.
            if re.fullmatch(r"(\./)?[^/]+/version\.mak", member.name):
                content = archive.extractfile(member)
                if content is not None:
                    return content.read().decode()
    raise _unusable(tarball, "it holds no version.mak")


def _root_below(folder: Path, tarball: Path) -> Path:
    for makefile in folder.glob("*/version.mak"):
        return makefile.parent
    raise _unusable(tarball, "it holds no version.mak")


def _folder_digest(folder: Path) -> str:
    """Hash of names, sizes and times: a changed file is noticed without reading 40 MB."""
    digest = hashlib.sha256(str(folder).encode())
    for path in sorted(folder.rglob("*.[chiSp]*")):
        if path.is_file() and path.suffix not in {".so", ".pyc"}:
            status = path.stat()
            digest.update(f"{path.relative_to(folder)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _unusable(path: Path, why: str) -> NoSource:
    return NoSource(
        f"{path} is not a pjproject source: {why}",
        "name the folder or tarball of a pjproject release, whose root holds version.mak",
    )
