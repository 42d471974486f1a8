"""The rooms of the package: who may import whom, and what is said at each door."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import vsbatch_core

ROOT = Path(vsbatch_core.__file__).parent
PACKAGE = vsbatch_core.__name__
API = ""
"""The package itself, as it is imported by its users."""

ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "clock": set(),
    "extras": set(),
    "model": {"errors"},
    "events": {"model"},
    "profiles": {"model"},
    "transitions": {"model", "events", "errors"},
    "validation": {"model", "errors"},
    "idempotency": {"model", "errors", "validation"},
    "columns": {"errors"},
    "paging": {"columns", "model", "errors"},
    "listing": {"columns", "paging", "model", "errors"},
    "rows": {"columns", "paging", "model", "errors", "transitions"},
    "batch": {"model", "errors", "transitions"},
    "claims": {"errors", "listing", "model", "rows"},
    "store": {
        *("model", "errors", "events", "transitions", "validation", "idempotency", "columns", "rows"),
        *("batch", "claims"),
    },
    "decisions": {"model", "errors", "events", "validation", "idempotency", "batch", "claims", "rows", "store"},
    "due": {"batch", "claims", "decisions", "errors", "events", "listing", "model", "rows", "store"},
    "registry": {
        *(
            "model",
            "errors",
            "events",
            "clock",
            "validation",
            "idempotency",
            "listing",
            "rows",
            "batch",
            "claims",
            "store",
            "due",
        ),
    },
    "client": {
        *("model", "errors", "events", "validation", "idempotency", "paging", "rows", "store", "decisions"),
        "registry",
    },
    "work": {"claims", "errors", "validation"},
    "processing": {
        *("model", "errors", "events", "validation", "claims", "store", "decisions", "registry", "work"),
    },
    "snapshots": {
        *("model", "errors", "events", "validation", "idempotency", "batch", "rows", "store", "registry"),
    },
    "view": {"model", "events", "rows", "claims", "store", "registry"},
    "journal": {
        *("model", "errors", "events", "wire", "clock", "claims", "rows", "store", "registry", "snapshots"),
        "extras",
    },
    "aio": {"model", "events", "validation", "registry", "client", "processing", "work"},
    "engine": {
        *("model", "events", "validation", "clock", "claims", "aio"),
        *("registry", "client", "processing", "snapshots", "view", "journal"),
    },
    "wire": {"model", "errors", "events", "validation"},
    "simulation": {"adapters", "extras", "clock", "engine", "events", "model", "errors", "view"},
    "encoding": {"model", "errors", "events", "wire"},
    "adapters": {
        "extras",
        "validation",
        "clock",
        "encoding",
        "engine",
        "errors",
        "journal",
        "listing",
        "model",
        "wire",
    },
    "scenarios": {"adapters", "model", "simulation"},
    "standin": {
        API,
        "adapters",
        "clock",
        "encoding",
        "engine",
        "errors",
        "events",
        "extras",
        "model",
        "scenarios",
        "simulation",
        "validation",
        "wire",
    },
    "testing": {
        *(
            API,
            "extras",
            "adapters",
            "claims",
            "clock",
            "engine",
            "errors",
            "events",
            "model",
            "scenarios",
            "simulation",
            "standin",
            "wire",
        ),
    },
    "load": {"model", "simulation"},
    "cli": {
        API,
        "extras",
        "adapters",
        "encoding",
        "errors",
        "events",
        "journal",
        "load",
        "model",
        "profiles",
        "scenarios",
        "simulation",
        "standin",
        "testing",
        "wire",
    },
    "__main__": {"cli"},
    API: {
        "aio",
        "claims",
        "clock",
        "engine",
        "errors",
        "events",
        "profiles",
        "registry",
        "model",
        "view",
        "wire",
    },
}
"""By room, the rooms that it may import.  A room that is not here may not be."""

THIRD_PARTY: dict[str, set[str]] = {
    **{
        room: {"attrs"}
        for room in ("model", "events", "transitions", "validation", "claims", "processing", "view", "journal")
    },
    "listing": {"sortedcontainers"},
    "simulation": {"attrs", "matplotlib", "openai"},
    "adapters": {"attrs", "openai", "psycopg", "python_multipart"},
    "scenarios": {"attrs"},
    "standin": {"attrs", "prometheus_client"},
    "testing": {"attrs", "hypothesis", "openai", "pytest"},
    "load": {"aiohttp", "attrs", "matplotlib"},
    "cli": {"attrs", "h11", "matplotlib", "openai", "rich", "uvicorn"},
}
"""By room, what it may import from outside the standard library."""

OPTIONAL = {"journal/postgres.py": {"psycopg"}}
"""By file of the core, what it alone may import too: it is imported only where it is used."""

AROUND = {"adapters", "cli", "load", "scenarios", "simulation", "standin", "testing"}
"""The rooms around the core, whose dependencies are optional extras."""


LAYERS: tuple[set[str], ...] = (
    {"columns"},
    {"paging"},
    {"listing", "rows"},
    {"claims"},
    {"store"},
    {"decisions"},
    {"due"},
    {"registry"},
    {"client", "processing", "snapshots", "view"},
    {"aio", "journal"},
    {"engine"},
)
"""The rooms that keep, change and show what there is, from the bottom up: each may know those below it."""


def room_of(path: Path) -> str:
    """``a/b.py`` is in the room ``a``; a file of the package's own folder is a room."""
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return API if first == "__init__" else first


FILES = sorted(ROOT.rglob("*.py"))
EXISTING = {room_of(path) for path in FILES}
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def imports(tree: ast.AST) -> Iterator[str]:
    """The dotted name of each module that is imported anywhere in the file, however indented."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: name the package in an import"
            assert node.module is not None
            if node.module == PACKAGE:
                rooms = [alias.name for alias in node.names if alias.name in EXISTING]
                yield from (f"{PACKAGE}.{room}" for room in rooms)
                if len(rooms) < len(node.names):
                    yield PACKAGE
            else:
                yield node.module


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_room_imports_only_what_the_table_allows(path: Path) -> None:
    room = room_of(path)
    assert room in ROOMS, f"'{room}' has no entry in the table of rooms: decide what it may import"
    for name in imports(TREES[path]):
        top, _, rest = name.partition(".")
        if top == PACKAGE:
            target = rest.partition(".")[0]
            assert target == room or target in ROOMS[room], f"'{room}' may not import '{target or PACKAGE}'"
        elif top not in sys.stdlib_module_names:
            allowed = THIRD_PARTY.get(room, set()) | OPTIONAL.get(path.relative_to(ROOT).as_posix(), set())
            assert top in allowed, f"'{room}' may not import '{top}'"


def test_the_table_of_rooms_has_no_cycle_and_names_only_rooms() -> None:
    assert set().union(*ROOMS.values()) <= set(ROOMS)
    assert list(TopologicalSorter(ROOMS).static_order())


def test_the_core_is_in_layers_each_of_which_knows_only_those_below() -> None:
    heights = {room: height for height, rooms in enumerate(LAYERS) for room in rooms}
    for room, height in heights.items():
        for known in ROOMS[room] & heights.keys():
            assert heights[known] < height, f"'{room}' is not above '{known}'"


# What is private to the core

CORE = {path for path in FILES if room_of(path) not in AROUND}
TESTS = Path(__file__).resolve().parents[1]
OUTSIDE = sorted(
    {*FILES} - CORE
    | {path for room in ("cli", "http", "load", "oracle", "simulation") for path in (TESTS / room).glob("*.py")}
)
"""The files that have the core's public names alone: the rooms around it and their tests."""
SAME_WORD = {("tracing.py", "_value")}
"""By file, what is called as something private of the core is, and is the file's own."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def private_names(tree: ast.AST) -> set[str]:
    """The private names that a file defines: its functions, classes, attributes, slots and constants."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Store):
            names.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    return set(filter(is_private, names))


PRIVATE = set().union(*(private_names(TREES[path]) for path in CORE))


def uses_of_private_names(tree: ast.AST) -> Iterator[str]:
    """Each private name of the core that a file reaches for: as an attribute, by ``getattr``, or in an import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if node.attr in PRIVATE and not own and ast.unparse(node.value) != "super()":
                yield node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("attr", "attrgetter")):
            words = [word.value for word in node.args if isinstance(word, ast.Constant)]
            yield from (part for word in words for part in str(word).split(".") if part in PRIVATE)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == PACKAGE:
            yield from (alias.name for alias in node.names if alias.name in PRIVATE)


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: "/".join(path.parts[-2:]))
def test_nobody_outside_the_core_uses_a_private_name_of_it(path: Path) -> None:
    tree = TREES[path] if path in TREES else ast.parse(path.read_text(encoding="utf-8"))
    assert {name for name in uses_of_private_names(tree) if (path.name, name) not in SAME_WORD} == set()


@pytest.mark.parametrize(
    ("planted", "name"),
    [
        ("def peek(engine):\n    return engine._registry.stores", "_registry"),
        ("class Peek:\n    def peek(self):\n        return self.simulation.engine._registry", "_registry"),
        ("store.rows._blocks.clear()", "_blocks"),
        ("registry._finish()", "_finish"),
        ("view._store('vs_1')", "_store"),
        ("stores = getattr(engine, '_registry').stores", "_registry"),
        ("look = operator.attrgetter('engine._registry')", "_registry"),
        ("from vsbatch_core.client import _FILTERS", "_FILTERS"),
    ],
)
def test_the_use_of_a_private_name_of_the_core_is_found_however_it_is_written(planted: str, name: str) -> None:
    path = ROOT / "simulation" / "machine.py"
    assert list(uses_of_private_names(TREES[path])) == []
    tree = ast.parse(path.read_text(encoding="utf-8") + "\n\n" + planted + "\n")
    assert list(uses_of_private_names(tree)) == [name]


def test_what_is_public_or_ones_own_is_not_taken_for_private() -> None:
    fine = "self._view = engine.view\nsuper()._store(1)\nclass A:\n    def __init__(self): self._registry = {}"
    assert list(uses_of_private_names(ast.parse(fine))) == []
    assert {"_registry", "_blocks", "_finish"} <= PRIVATE


def test_the_core_depends_on_attrs_and_sortedcontainers_alone() -> None:
    outside = set().union(*(names for room, names in THIRD_PARTY.items() if room not in AROUND))
    assert outside == {"attrs", "sortedcontainers"}
    assert [room for room, names in THIRD_PARTY.items() if "sortedcontainers" in names] == ["listing"]


# The public face


def public_names() -> list[str]:
    # TYPE_CHECKING is there because type checkers know it by this name alone; dir() does not show it.
    return [name for name in vars(vsbatch_core) if not name.startswith("_") and name != "TYPE_CHECKING"]


def test_every_public_name_is_exported() -> None:
    # Rooms become attributes of the package once they are imported; only those meant for users are exported.
    names = [name for name in public_names() if not isinstance(getattr(vsbatch_core, name), ModuleType)]
    assert set(names) <= set(vsbatch_core.__all__)


def test_the_exported_rooms_are_those_that_users_need() -> None:
    exported = [n for n in vsbatch_core.__all__ if isinstance(getattr(vsbatch_core, n), ModuleType)]
    assert exported == ["errors", "events", "profiles", "wire"]


def test_every_name_is_exported_once_in_order_and_is_there() -> None:
    names = vsbatch_core.__all__
    assert list(names) == sorted(names)
    assert len(set(names)) == len(names)
    assert len({id(getattr(vsbatch_core, name)) for name in names}) == len(names)


def test_what_is_imported_when_it_is_used_can_be_listed_before_and_nothing_else_is_there() -> None:
    assert set(vsbatch_core.__all__) <= set(dir(vsbatch_core))
    with pytest.raises(AttributeError, match="has no attribute 'Engines'"):
        vsbatch_core.Engines  # noqa: B018 - the look is what is refused


def test_a_star_import_brings_exactly_the_exported_names() -> None:
    found: dict[str, Any] = {}
    exec(f"from {PACKAGE} import *", found)  # noqa: S102 - there is no other way to say it
    assert set(found) - {"__builtins__"} == set(vsbatch_core.__all__)


def described_assignments() -> set[str]:
    """The names of module constants and aliases that a string literal follows."""
    names: set[str] = set()
    for tree in TREES.values():
        for node, following in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("name", vsbatch_core.__all__)
def test_every_exported_name_is_documented(name: str) -> None:
    value = getattr(vsbatch_core, name)
    if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
        described = (value.__doc__ or "").strip()
        assert described
        assert "Method generated by attrs" not in described
    elif type(value).__module__.startswith(PACKAGE):
        assert (type(value).__doc__ or "").strip()
    else:
        assert name in described_assignments()


def undocumented(body: list[ast.stmt], where: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if node.name.startswith("_"):
                continue
            name = f"{where}.{node.name}"
            if not (ast.get_docstring(node) or "").strip():
                yield name
            if isinstance(node, ast.ClassDef):
                yield from undocumented(node.body, name)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_every_public_class_function_and_method_is_documented(path: Path) -> None:
    assert (ast.get_docstring(TREES[path]) or "").strip()
    assert list(undocumented(TREES[path].body, relative(path))) == []
