# SPDX-License-Identifier: GPL-2.0-or-later
"""Contract types for import-linter; pyproject.toml uses them, `lint-imports` loads them.

What is built in can forbid what somebody thought of.  Here the list says what is
allowed, so that a new dependency has to be written down.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

STANDARD_LIBRARY = "stdlib"
"stands for every module of the standard library in a list of what is allowed"


class OnlyImports(Contract):
    """Modules below `source_modules` import nothing but each other and what `allowed` names.

    `except_standard` takes modules of the standard library off the list again;
    `io_modules` are those below the source that may import these all the same.
    """

    type_name = "only_imports"
    source_modules = fields.ListField(subfield=fields.StringField())
    allowed = fields.ListField(subfield=fields.StringField())
    except_standard = fields.ListField(subfield=fields.StringField(), required=False)
    io_modules = fields.ListField(subfield=fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Look at each direct import; what is imported answers for its own."""
        broken = [
            f"{importer} (line {line}) imports {imported}"
            for importer, imported, line in imports_below(graph, self.source_modules)
            if not self._permitted(importer, imported)
        ]
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """One line for each import."""
        render(check)

    def _permitted(self, importer: str, imported: str) -> bool:
        if any(within(imported, module) for module in (*self.source_modules, *self.allowed)):
            return True
        if (
            STANDARD_LIBRARY not in self.allowed
            or imported.split(".", maxsplit=1)[0] not in sys.stdlib_module_names
        ):
            return False
        excepted = any(within(imported, module) for module in self.except_standard or ())
        return not excepted or importer in (self.io_modules or ())


class ImportedOnlyBy(Contract):
    """The modules `imported` are imported by `allowed_importers` and what is below these, by nobody else.

    Every allowed importer must still import one of them, so that the list stays true.
    """

    type_name = "imported_only_by"
    imported = fields.ListField(subfield=fields.StringField())
    allowed_importers = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Look at who imports them directly."""
        modules = [module for module in self.imported if module in graph.modules]
        importers = {
            importer for module in modules for importer in graph.find_modules_that_directly_import(module)
        }
        broken = [
            f"{importer} imports {', '.join(self.imported)}"
            for importer in sorted(importers)
            if not any(within(importer, allowed) for allowed in self.allowed_importers)
        ]
        broken += [
            f"{allowed} no longer does: take it off the list"
            for allowed in self.allowed_importers
            if not any(within(importer, allowed) for importer in importers)
        ]
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """One line for each importer."""
        render(check)


def imports_below(graph: ImportGraph, roots: list[str]) -> Iterator[tuple[str, str, int]]:
    """Direct imports of the modules at and below `roots`: importer, imported, line."""
    for importer in sorted(module for module in graph.modules if any(within(module, root) for root in roots)):
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            details = graph.get_import_details(importer=importer, imported=imported)
            yield importer, imported, details[0]["line_number"] if details else 0


def within(module: str, package: str) -> bool:
    """Whether `module` is `package` or below it."""
    return module == package or module.startswith(f"{package}.")


def render(check: ContractCheck) -> None:
    """Print what broke the contract."""
    for line in check.metadata["broken"]:
        output.print_error(f"- {line}", bold=False)
    output.new_line()
