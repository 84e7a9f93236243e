# SPDX-License-Identifier: GPL-2.0-or-later
"""The house rules that no linter knows: packages are listed, files say their licence, names stay mapped."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOP = ("gateway", "rtp", "codecs", "agent_bridge")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def python_files(*folders: str) -> Iterator[Path]:
    """Python files below the folders."""
    for folder in folders:
        yield from (path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def c_files() -> Iterator[Path]:
    """C files and headers, of kernels and of benches."""
    for folder in (*TOP, "tests"):
        yield from (ROOT / folder).rglob("*.[ch]")


def test_every_folder_with_modules_is_a_listed_package() -> None:
    """A package missing from pyproject.toml works in an editable checkout's parent folder and nowhere else."""
    found = {path.parent.relative_to(ROOT) for path in python_files(*TOP)}
    listed = PROJECT["tool"]["setuptools"]["package-dir"]
    assert {Path(folder) for folder in listed.values()} == found
    assert sorted(listed) == sorted(PROJECT["tool"]["setuptools"]["packages"])
    assert {name: "trunkline." + folder.replace("/", ".") for name, folder in listed.items()} == {
        name: name for name in listed
    }


def test_every_package_has_an_init_and_the_namespace_has_none() -> None:
    """`trunkline` itself must stay a namespace: with an __init__ of its own, it would hide the mapped folders."""
    folders = {path.parent for path in python_files(*TOP)}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
    assert not (ROOT / "__init__.py").exists()
    assert not (ROOT / "trunkline").exists()


def test_every_file_begins_with_its_licence() -> None:
    """MIT in agent_bridge, which programs of others import, and in its tests; GPL-2.0-or-later elsewhere."""
    wrong = []
    for path in python_files(*TOP, "tests"):
        licence = "MIT" if "agent_bridge" in path.relative_to(ROOT).parts else "GPL-2.0-or-later"
        lines = path.read_text(encoding="utf-8").splitlines()
        # A program's first line is for the kernel.
        head = [line for line in lines[:2] if not line.startswith("#!")][:1]
        if head != [f"# SPDX-License-Identifier: {licence}"]:
            wrong.append(str(path.relative_to(ROOT)))
    for path in c_files():
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        if first.removesuffix(" */") != "/* SPDX-License-Identifier: GPL-2.0-or-later":
            wrong.append(str(path.relative_to(ROOT)))
    assert wrong == []


def test_every_c_file_of_a_kernel_is_compiled() -> None:
    """One that pyproject.toml does not list is missing from the module, or a change of it from the next build."""
    listed = {Path(name) for module in PROJECT["tool"]["setuptools"]["ext-modules"]
              for name in (*module["sources"], *module["depends"])}  # fmt: skip
    assert listed == {path.relative_to(ROOT) for path in c_files() if path.parent.name == "native"}


def test_the_sdk_needs_numpy_and_nothing_else() -> None:
    """`pip install trunkline` is for agents: nothing heavy, and no GPL code, may come along on import."""
    assert [re.split(r"[<>=]", need)[0] for need in PROJECT["project"]["dependencies"]] == ["numpy"]
    program = (
        "import sys, trunkline.agent_bridge as sdk; print(' '.join(sorted({m.split('.')[0] for m in sys.modules})));"
        "print([m for m in sys.modules if m.startswith('trunkline.') and not m.startswith('trunkline.agent_bridge')])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules, others_of_ours = answer.stdout.splitlines()
    heavy = {"fastapi", "msgspec", "pjsua2", "pydantic", "structlog", "typer", "rich", "uvicorn"}
    assert heavy & set(modules.split()) == set()
    assert others_of_ours == "[]"


def test_the_program_says_how_to_get_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed as the SDK alone, `trunkline` has no typer; it answers with the command to type, not a traceback."""
    from trunkline.gateway import cli

    monkeypatch.delitem(sys.modules, "trunkline.gateway.cli.app", raising=False)
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit, match=r"pip install 'trunkline\[gateway\]'"):
        cli.main()


def test_every_command_is_registered_by_the_module_that_is_said_to_have_it() -> None:
    """The table of commands spares imports; a wrong entry would make a command vanish when it is asked for."""
    from trunkline.gateway.cli.app import COMMANDS, build_app

    for module, names in COMMANDS.items():
        app = build_app([names[0]])
        registered = {command.name for command in app.registered_commands}
        registered |= {group.name for group in app.registered_groups}
        assert registered == set(names), module


def test_one_command_does_not_load_the_others() -> None:
    """`trunkline doctor` must start fast, and work when the API's libraries are broken."""
    program = (
        "import sys; from trunkline.gateway.cli.app import build_app; build_app(['doctor']);"
        "print([name for name in ('fastapi', 'uvicorn', 'matplotlib', 'pjsua2') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_ci_runs_the_test_command_of_the_readme() -> None:
    """What CI proves is what a reader is told to type."""
    assert (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()[-1] == "exec make test"
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_test_folders_mirror_the_packages() -> None:
    """Where to look for the tests of a folder, and where to put them."""
    extra = {"support", "vectors", "fuzz", "bench", "e2e", "matrix", "__pycache__"}
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert folders - extra == set(TOP)
