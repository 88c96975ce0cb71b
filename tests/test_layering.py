"""The arrows of the house: which module may import which. Read from the sources, without running them."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.layers import ALLOWED, IMPURE, PROTOCOL_IO, PURE_STANDARD_LIBRARY

ROOT = Path(__file__).parent.parent
PACKAGES = {"oxd_protocol": ROOT / "protocol" / "oxd_protocol", "oxd_server": ROOT / "oxd_server"}
CALLS_ITSELF_PURE = re.compile(r"\bpure\b", re.IGNORECASE)


@dataclass(frozen=True)
class Import:
    """One import of one module: of what, and whether it is inside a function."""

    importer: str
    target: str
    line: int
    lazy: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}"


def within(module: str, package: str) -> bool:
    """Tell whether `module` is `package` or lies in it."""
    return module == package or module.startswith(f"{package}.")


def module_files() -> dict[str, Path]:
    """Return every module of the project by its dotted name."""
    modules = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            modules[name] = path
    return modules


def find_imports(importer: str, source: str, *, is_package: bool, known: Iterable[str]) -> Iterator[Import]:
    """List the imports of a source text; `from a import b` is an import of `a.b` where that is a module."""
    tree = ast.parse(source)
    lazy_nodes = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(importer, node, is_package=is_package)
            names = [f"{base}.{alias.name}" for alias in node.names]
            targets = sorted({name if name in known else base for name in names})
            if base == "urllib":
                targets = names
        else:
            continue
        for target in targets:
            yield Import(importer, target, node.lineno, id(node) in lazy_nodes)


def _absolute(importer: str, node: ast.ImportFrom, *, is_package: bool) -> str:
    if node.level == 0:
        return node.module or ""
    parts = importer.split(".")
    up = node.level - (1 if is_package else 0)
    base = parts[: len(parts) - up] if up else parts
    return ".".join([*base, *([node.module] if node.module else [])])


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return one cycle as the list of its modules, the first again at the end; [] if there is none."""
    done: set[str] = set()
    path: list[str] = []

    def visit(module: str) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        path.append(module)
        for target in sorted(graph.get(module, ())):
            if cycle := visit(target):
                return cycle
        path.pop()
        done.add(module)
        return []

    for module in sorted(graph):
        if cycle := visit(module):
            return cycle
    return []


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    """Return every import of the project."""
    modules = module_files()
    return [
        found
        for name, path in modules.items()
        for found in find_imports(
            name, path.read_text(encoding="utf-8"), is_package=path.name == "__init__.py", known=modules
        )
    ]


def _show(broken: Iterable[Import]) -> str:
    return "\n".join(sorted(map(str, broken)))


def test_imports_are_found_in_every_form() -> None:
    """Absolute, relative, aliased and lazy imports are all seen, with the module that they mean."""
    source = (
        "import trio.abc as a, json\nfrom . import errors, name\nfrom ..store import base\n"
        "from urllib.parse import quote\ndef f():\n    from .jwks import Cache\n"
    )
    known = {"oxd_server.op.errors", "oxd_server.store.base", "oxd_server.op.jwks"}
    found = list(find_imports("oxd_server.op.tokens", source, is_package=False, known=known))
    assert {(one.target, one.lazy) for one in found} == {
        ("trio.abc", False),
        ("json", False),
        ("oxd_server.op", False),
        ("oxd_server.op.errors", False),
        ("oxd_server.store.base", False),
        ("urllib.parse", False),
        ("oxd_server.op.jwks", True),
    }
    from_package = find_imports("oxd_server.op", "from . import errors", is_package=True, known=known)
    assert [one.target for one in from_package] == ["oxd_server.op.errors"]


def test_cycles_are_found() -> None:
    """A cycle is reported as the way round it, and a diamond is none."""
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_cycle({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}}) == []


def test_both_packages_are_walked() -> None:
    """The walk reaches both packages and their folders, so that a passing test means something."""
    names = set(module_files())
    assert {"oxd_protocol.framing", "oxd_server", "oxd_server.op.transport", "oxd_server.store.base"} <= names


def test_protocol_imports_msgspec_and_pure_standard_library_only(imports: list[Import]) -> None:
    """The protocol package does no I/O, but where it is for clients, and depends on msgspec alone."""
    assert set(PROTOCOL_IO) <= set(module_files())
    broken = [
        one
        for one in imports
        if within(one.importer, "oxd_protocol")
        and one.importer not in PROTOCOL_IO
        and not within(one.target, "oxd_protocol")
        and not within(one.target, "msgspec")
        and not any(within(one.target, allowed) for allowed in PURE_STANDARD_LIBRARY)
    ]
    assert not broken, _show(broken)


def test_the_list_of_pure_modules_names_real_ones() -> None:
    """Every module that the protocol package may import is one of the standard library."""
    assert {name.split(".")[0] for name in PURE_STANDARD_LIBRARY} <= set(sys.stdlib_module_names)


def layer_of(module: str) -> str | None:
    """Return the layer that the module belongs to: the longest name that fits; None if it lies in none.

    The root package is a layer of its own: only its own file belongs to it.
    """
    fitting = [layer for layer in ALLOWED if (module == layer if layer == "oxd_server" else within(module, layer))]
    return max(fitting, key=len, default=None)


def pure_modules() -> list[str]:
    """Return the modules whose docstring calls them pure."""
    return [
        name
        for name, path in module_files().items()
        if CALLS_ITSELF_PURE.search(ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "")
    ]


def test_every_module_belongs_to_a_layer() -> None:
    """A new module is put into a room on purpose, or the test fails."""
    assert [module for module in module_files() if layer_of(module) is None] == []


def test_a_module_that_no_layer_names_is_found() -> None:
    """The closed world is closed: the root package does not take in what lies flat in its folder."""
    assert layer_of("oxd_server.attic") is None
    assert layer_of("oxd_server.rp.uma_rules") == "oxd_server.rp.uma_rules"
    assert layer_of("oxd_server.rp.services") == "oxd_server.rp"


def test_every_layer_has_modules() -> None:
    """A layer that nothing lies in is a name that was left behind."""
    assert set(ALLOWED) == {layer_of(module) for module in module_files()}


@pytest.mark.parametrize("layer", ALLOWED)
def test_a_layer_knows_no_more_than_it_may(imports: list[Import], layer: str) -> None:
    """No module of a layer imports more of the project, at the top of its file or in a function."""
    root = {"oxd_server"} if within(layer, "oxd_server") else set()
    broken = [
        one
        for one in imports
        if layer_of(one.importer) == layer
        and any(within(one.target, package) for package in PACKAGES)
        and not any(within(one.target, allowed) for allowed in ALLOWED[layer])
        and layer_of(one.target) != layer
        and not (layer != "oxd_server" and within(one.target, layer))
        and one.target not in root
    ]
    assert not broken, _show(broken)


@pytest.mark.parametrize("module", pure_modules())
def test_a_pure_module_touches_nothing(imports: list[Import], module: str) -> None:
    """A pure module does not import what does I/O, asks for the time or draws random numbers."""
    broken = [one for one in imports if one.importer == module and any(within(one.target, impure) for impure in IMPURE)]
    assert not broken, _show(broken)


def test_the_modules_that_decide_are_pure() -> None:
    """What decides security calls itself pure, and so is held to it."""
    wanted = {"json_logic", "uma_rules", "id_token", "authorization", "wire_errors", "site_as_client"}
    assert wanted <= {name.rsplit(".", 1)[-1] for name in pure_modules()}


# What sends requests: with verified TLS, time limits and bounds of size.
TRANSPORT = {
    f"oxd_server.op.{name}"
    for name in ("http_connection", "http_pool", "no_connection", "proxy", "targets", "transport")
}


def test_only_the_transport_and_the_sandbox_call_over_http(imports: list[Import]) -> None:
    """The HTTP client library is imported where TLS, time limits and size caps are set, and nowhere else."""
    callers = {one.importer for one in imports if within(one.target, "httpx2")}
    allowed = TRANSPORT | {name for name in callers if within(name, "oxd_server.sandbox")}
    assert callers <= allowed, callers - allowed


def test_values_are_structs(imports: list[Import]) -> None:
    """Outside the sandbox, no value is a dataclass: each of them costs a start a millisecond."""
    importers = {one.importer for one in imports if one.target == "dataclasses"}
    assert {name for name in importers if not within(name, "oxd_server.sandbox")} == set()


def test_only_the_command_line_imports_the_sandbox(imports: list[Import]) -> None:
    """The server runs without the sandbox: only `cli` imports it, and only when it is asked to."""
    broken = [
        one
        for one in imports
        if within(one.target, "oxd_server.sandbox")
        and not within(one.importer, "oxd_server.sandbox")
        and not (one.importer == "oxd_server.cli.sandbox" and one.lazy)
    ]
    assert not broken, _show(broken)


def test_the_packages_import_neither_tests_nor_scripts(imports: list[Import]) -> None:
    """What is installed does not need what is not."""
    broken = [one for one in imports if within(one.target, "tests") or within(one.target, "scripts")]
    assert not broken, _show(broken)


def test_modules_do_not_import_each_other_in_a_circle(imports: list[Import]) -> None:
    """There is no import cycle, lazy imports and imports for types included."""
    modules = module_files()
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for one in imports:
        if one.target in modules and one.target != one.importer:
            graph[one.importer].add(one.target)
    assert find_cycle(graph) == []


def public_names(tree: ast.Module) -> set[str]:
    """Return the names without an underscore that a module defines itself."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def exported_names(tree: ast.Module) -> list[str] | None:
    """Return what the module's `__all__` lists; None if it has none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return None


def test_every_module_says_what_it_exports() -> None:
    """A module that defines public names has an `__all__` that lists names of its own; a package may pass names on.

    A file without public names, such as the `__init__.py` that only has a docstring, needs none.
    """
    broken = []
    for name, path in module_files().items():
        tree = ast.parse(path.read_text("utf-8"))
        defined, exported = public_names(tree), exported_names(tree)
        if exported is None:
            broken += [f"{name} has no __all__"] if defined else []
        elif path.name != "__init__.py":
            broken += [f"{name} does not define {one}" for one in exported if one not in defined]
    assert broken == []


def test_nothing_imports_a_private_name() -> None:
    """What begins with an underscore stays in its module."""
    broken = [
        f"{name}:{node.lineno} imports {alias.name}"
        for name, path in module_files().items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]
    assert broken == []


def rooms() -> set[str]:
    """Return the names in the first column of the table of rooms in ARCHITECTURE.md."""
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8").split("## The rooms")[1].split("\n## ")[0]
    first_cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name.removeprefix("oxd_server/") for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)}


def test_the_table_of_rooms_is_exact() -> None:
    """ARCHITECTURE.md names every folder and every module at the top of oxd_server, and none that is not there."""
    top = {
        path.stem
        for path in PACKAGES["oxd_server"].iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert rooms() - {"protocol/oxd_protocol"} == top - {"__init__", "__main__"}
