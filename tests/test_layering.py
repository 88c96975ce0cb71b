"""The arrows of the house: which module may import which. Read from the sources, without running them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"oxd_protocol": ROOT / "protocol" / "oxd_protocol", "oxd_server": ROOT / "oxd_server"}

# What the protocol package may use of the standard library: nothing that reads, writes, waits or asks the
# machine. A module that belongs here is added here, and so is seen in a review.
PURE_STANDARD_LIBRARY = {
    "__future__",
    "abc",
    "base64",
    "binascii",
    "bisect",
    "codecs",
    "collections",
    "copy",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "ipaddress",
    "itertools",
    "json",
    "keyword",
    "math",
    "operator",
    "re",
    "string",
    "struct",
    "types",
    "typing",
    "unicodedata",
    "urllib.parse",
}

# Each layer, and all that it may know of the project outside itself. The root package (the version) may
# be known to all of oxd_server; modules that are not named here join layers together and may know any.
ALLOWED: dict[str, set[str]] = {
    "oxd_protocol": set(),
    "oxd_server.op": set(),
    "oxd_server.store": set(),
    "oxd_server.http1": {"oxd_server.http_head"},
    "oxd_server.http_head": set(),
    "oxd_server.json_logic": set(),
    "oxd_server.uma_rules": {"oxd_server.json_logic"},
    "oxd_server.log": set(),
    "oxd_server.metrics": set(),
    "oxd_server.client": {"oxd_protocol"},
    "oxd_server.state": {"oxd_server.op.authorization", "oxd_server.op.base64url"},
    "oxd_server.sandbox": {"oxd_protocol", "oxd_server.http1", "oxd_server.client", "oxd_server.uma_rules"},
    "oxd_server.handlers": {
        "oxd_protocol",
        "oxd_server.clients",
        "oxd_server.config",
        "oxd_server.log",
        "oxd_server.op",
        "oxd_server.pat",
        "oxd_server.protection",
        "oxd_server.services",
        "oxd_server.sites",
        "oxd_server.state",
        "oxd_server.store",
        "oxd_server.translation",
        "oxd_server.uma_rules",
    },
}

# Pure modules: what they need of the outside (the time, randomness, an answer) is passed in.
IMPURE = {"httpx2", "os", "random", "secrets", "socket", "sqlite3", "ssl", "time", "trio"}
PURE_MODULES = [
    "oxd_server.json_logic",
    "oxd_server.uma_rules",
    "oxd_server.op.id_token",
    "oxd_server.op.authorization",
]


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
    """The protocol package does no I/O and depends on msgspec alone."""
    broken = [
        one
        for one in imports
        if within(one.importer, "oxd_protocol")
        and not within(one.target, "oxd_protocol")
        and not within(one.target, "msgspec")
        and not any(within(one.target, allowed) for allowed in PURE_STANDARD_LIBRARY)
    ]
    assert not broken, _show(broken)


def test_the_list_of_pure_modules_names_real_ones() -> None:
    """Every module that the protocol package may import is one of the standard library."""
    assert {name.split(".")[0] for name in PURE_STANDARD_LIBRARY} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("layer", ALLOWED)
def test_a_layer_knows_no_more_than_it_may(imports: list[Import], layer: str) -> None:
    """No module of a layer imports more of the project, at the top of its file or in a function."""
    root = {"oxd_server"} if within(layer, "oxd_server") else set()
    broken = [
        one
        for one in imports
        if within(one.importer, layer)
        and any(within(one.target, package) for package in PACKAGES)
        and not any(within(one.target, allowed) for allowed in {layer, *ALLOWED[layer]})
        and one.target not in root
    ]
    assert not broken, _show(broken)


@pytest.mark.parametrize("module", PURE_MODULES)
def test_a_pure_module_touches_nothing(imports: list[Import], module: str) -> None:
    """A pure module does not import what does I/O, asks for the time or draws random numbers."""
    broken = [one for one in imports if one.importer == module and any(within(one.target, impure) for impure in IMPURE)]
    assert not broken, _show(broken)


def test_only_transport_and_the_sandbox_call_over_http(imports: list[Import]) -> None:
    """The HTTP client library is imported where TLS, time limits and size caps are set, and nowhere else."""
    callers = {one.importer for one in imports if within(one.target, "httpx2")}
    allowed = {name for name in callers if within(name, "oxd_server.sandbox")} | {"oxd_server.op.transport"}
    assert callers <= allowed, callers - allowed


def test_only_the_command_line_imports_the_sandbox(imports: list[Import]) -> None:
    """The server runs without the sandbox: only `cli` imports it, and only when it is asked to."""
    broken = [
        one
        for one in imports
        if within(one.target, "oxd_server.sandbox")
        and not within(one.importer, "oxd_server.sandbox")
        and not (one.importer == "oxd_server.cli" and one.lazy)
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
