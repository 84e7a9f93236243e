# SPDX-License-Identifier: GPL-2.0-or-later
"""Our contract types for import-linter, on graphs made by hand."""

from __future__ import annotations

from typing import Any

import grimp
import pytest

from support.contracts import ImportedOnlyBy, OnlyImports, within


@pytest.fixture
def graph() -> grimp.ImportGraph:
    """core.a imports numpy and json; core.b imports socket and shell; shell imports socket."""
    graph = grimp.ImportGraph()
    for module in ("core", "core.a", "core.b", "shell"):
        graph.add_module(module)
    for module in ("numpy", "json", "socket"):
        graph.add_module(module, is_squashed=True)
    edges = (
        ("core.a", "numpy"),
        ("core.a", "json"),
        ("core.b", "socket"),
        ("core.b", "shell"),
        ("shell", "socket"),
    )
    for importer, imported in edges:
        graph.add_import(importer=importer, imported=imported, line_number=3, line_contents="")
    return graph


def only_imports(graph: grimp.ImportGraph, **options: Any) -> list[str]:
    """What breaks an OnlyImports contract over core."""
    contract = OnlyImports(
        name="c", session_options={}, contract_options={"source_modules": ["core"], **options}
    )
    return list(contract.check(graph, verbose=False).metadata["broken"])


def imported_only_by(graph: grimp.ImportGraph, importers: list[str]) -> list[str]:
    """What breaks an ImportedOnlyBy contract over socket."""
    options = {"imported": ["socket"], "allowed_importers": importers}
    contract = ImportedOnlyBy(name="c", session_options={}, contract_options=options)
    return list(contract.check(graph, verbose=False).metadata["broken"])


def test_what_is_not_listed_is_refused(graph: grimp.ImportGraph) -> None:
    """A new dependency has to be written down."""
    assert only_imports(graph, allowed=["stdlib", "numpy"]) == ["core.b (line 3) imports shell"]
    assert only_imports(graph, allowed=["stdlib", "shell"]) == ["core.a (line 3) imports numpy"]


def test_the_standard_library_minus_what_does_io(graph: grimp.ImportGraph) -> None:
    """Cores may use the standard library, but not its sockets; named I/O modules may."""
    everything = {"allowed": ["stdlib", "numpy", "shell"], "except_standard": ["socket"]}
    assert only_imports(graph, **everything) == ["core.b (line 3) imports socket"]
    assert only_imports(graph, **everything, io_modules=["core.b"]) == []


def test_importers_that_are_not_named_are_refused(graph: grimp.ImportGraph) -> None:
    """An allowed package covers what is below it, and nobody whose name only begins alike."""
    assert imported_only_by(graph, ["core", "shell"]) == []
    assert imported_only_by(graph, ["core"]) == ["shell imports socket"]
    assert within("core.b", "core")
    assert not within("core_b", "core")


def test_an_exception_that_nobody_needs_any_more_is_refused(graph: grimp.ImportGraph) -> None:
    """The list of I/O modules stays a list of modules that do I/O."""
    assert imported_only_by(graph, ["core", "shell", "core.a"]) == [
        "core.a no longer does: take it off the list"
    ]
