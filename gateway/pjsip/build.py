# SPDX-License-Identifier: GPL-2.0-or-later
"""From a pjproject source to a wheel of pjsua2 in the cache.

PJSIP's libraries are linked statically into the one extension module, so the
wheel is all that an installation needs besides the system's libssl, libopus,
libsrtp2 and libsamplerate.  Two minutes and a half on two cores; a wheel with
the same key is taken from the cache instead.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from trunkline.gateway.pjsip import packages
from trunkline.gateway.pjsip.errors import BuildFailed
from trunkline.gateway.pjsip.paths import cache_folder
from trunkline.gateway.pjsip.recipe import LIBRARIES, Patch, Recipe
from trunkline.gateway.pjsip.source import Source
from trunkline.gateway.pjsip.steps import CURE, Step, StepRunner, Watcher

LABEL = "trunkline"
"our wheels are versioned 2.17+trunkline.KEY (PEP 440 local version): the version says which build is installed"


def log_path() -> Path:
    """The log of the latest build."""
    return cache_folder("logs") / "pjsip-build.log"


def cached_wheel(key: str) -> Path | None:
    """The wheel of an earlier build with this key, if it is still there."""
    found = sorted(cache_folder("wheels").glob(f"pjsua2-*+{LABEL}.{key}-*.whl"))
    return found[-1] if found else None


def build_wheel(source: Source, watcher: Watcher, recipe: Recipe | None = None) -> Path:
    """Build, put the wheel into the cache and return its path; raises BuildFailed."""
    recipe = recipe or Recipe()
    check_tools()
    key = recipe.key(source.version, source.digest)
    log_path().write_text(f"pjproject {source.version} from {source.path}, key {key}\n", encoding="utf-8")
    runner = StepRunner(log_path(), _environment(recipe), watcher)
    with tempfile.TemporaryDirectory(prefix="pjsip-", dir=cache_folder("build")) as scratch:
        watcher.step_started(f"unpack pjproject {source.version}")
        root = source.lay_out(Path(scratch))
        prepare(root, recipe, key)
        watcher.step_ended(ok=True)
        output = Path(scratch) / "wheel"
        for step in build_steps(root, output, recipe):
            runner.run(step)
        return _keep(output, key)


def check_tools() -> None:
    """Say which packages are missing before two minutes are spent on finding out."""
    lacking = packages.missing("build")
    # Where dpkg is not the judge, the three programs are.
    programs = [name for name in ("make", "g++", "swig") if shutil.which(name) is None]
    if lacking:
        names = ", ".join(package.names[0] for package in lacking)
        raise BuildFailed(f"packages are missing: {names}", packages.install_command(lacking))
    if programs:
        raise BuildFailed(
            f"programs are missing: {', '.join(programs)}", "install a C++ compiler, make and SWIG"
        )


def prepare(root: Path, recipe: Recipe, key: str) -> None:
    """Write our limits and our version into an unpacked source."""
    (root / "pjlib/include/pj/config_site.h").write_text(recipe.config_site, encoding="utf-8")
    # Debian strips this driver of a proprietary device for its licence but leaves it in the makefile.
    (root / "pjmedia/src/pjmedia-audiodev/bdimad_dev.c").touch()
    for patch in recipe.patches:
        apply_patch(root, patch)
    setup = root / "pjsip-apps/src/swig/python/setup.cfg"
    setup.write_text(f"[egg_info]\ntag_build = +{LABEL}.{key}\n", encoding="utf-8")


def apply_patch(root: Path, patch: Patch) -> None:
    """Change the source; a version whose source reads otherwise is built as it is, and the log says so."""
    file = root / patch.file
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if text.count(patch.before) == 1:
        file.write_text(text.replace(patch.before, patch.insert + patch.before), encoding="utf-8")
        return
    with log_path().open("a", encoding="utf-8") as log:
        log.write(f"{patch.file} is not as expected and stays as it is; calls fail of {patch.what}\n")


def build_steps(root: Path, output: Path, recipe: Recipe) -> list[Step]:
    """The commands, in order: `lib` leaves out test programs, and without `dep` make asks for no header twice."""
    jobs = f"-j{os.cpu_count() or 1}"
    binding = root / "pjsip-apps/src/swig/python"
    pip_wheel = (
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--use-pep517",
        "--no-deps",
        "--wheel-dir",
        str(output),
        ".",
    )
    return [
        Step("configure", ("./configure", *recipe.configure), root),
        *(Step(f"compile {name}", ("make", jobs, "lib"), root / name / "build") for name in LIBRARIES),
        Step("generate the Python binding", ("make", "pjsua2_wrap.cpp"), binding),
        # With PEP 517 pip makes an environment with setuptools for the build; the venv need not have it.
        Step("compile the Python binding", pip_wheel, binding),
    ]


def _environment(recipe: Recipe) -> dict[str, str]:
    """Ours, with the flags, and with the venv's python first: makefiles call `python3`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    flags = {"CFLAGS": recipe.cflags, "CXXFLAGS": recipe.cflags}
    # The jobserver of a `make setup` around us would override our own -j.
    inherited = {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    }
    return {**inherited, **flags, "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def _keep(output: Path, key: str) -> Path:
    built = sorted(output.glob(f"pjsua2-*+{LABEL}.{key}-*.whl"))
    if not built:
        raise BuildFailed("the build made no wheel of the expected name", CURE, log_path())
    return Path(shutil.move(built[-1], cache_folder("wheels") / built[-1].name))
