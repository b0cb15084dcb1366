"""Style that a machine can judge: layers, purity, sizes, forbidden calls, dead modules, docs.

Everything is read from the syntax trees of the files, so that an import inside a function or under
`TYPE_CHECKING` counts too: who names another module knows of it.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from cairndb.cli import application

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "cairndb"

# A module imports only from lines below its own, and on its own line only to the right. A family
# (kinds, kinds_base, ...) is one layer in several files, whose imports of each other have no cycle.
LAYERS = """
__main__ cli
diagnosis prediction salvage restoring archive rebuilding survey
checkpointer
__init__
server
replicas client
service
opener
database calls
watch
opening
rewinding backup forgetting kept barrier history conversion
housekeeper ownership
transaction
engine
rules
index
draft
touched patch fold difference
schema
kinds
pattern notation reference
requests
record codec
store appender adoption retirement retention
recovery padding linking chain identity
log checkpoint
flusher publishing frame files locking locks descriptors forecast backoff collector tracing
cancellation wire
errors
"""

PURE = {"errors", "frame", "codec", "record", "kinds", "schema", "patch", "fold", "draft"} | {
    "notation",
    "pattern",
    "index",
    "reference",
    "requests",
    "rules",
    "touched",
}
# Of a family that isn't pure as a whole those that are.
PURE_MODULES = {"tracing_anomalies", "tracing_events", "tracing_files", "tracing_holds"} | {
    "tracing_lines",
    "tracing_model",
    "tracing_paths",
    "tracing_picture",
    "tracing_strace",
    "tracing_strace_calls",
    "tracing_tables",
}
IMPURE_LIBRARIES = {"asyncio", "io", "os", "pathlib", "select", "shutil", "signal", "socket"} | {
    "subprocess",
    "tempfile",
    "threading",
    "time",
}

# Who calls the system for files: the door of the database, and what locks files that are no part
# of one.
AT_THE_SYSTEM = {"files", "descriptors", "locking"}
# And of whose descriptors none is a file of a database: named pipes and /proc, or no files at all.
OTHER_DESCRIPTORS = {"cancellation_bell", "cancellation_signals", "tracing_system"}
# What of `os` isn't about files. Everything else of it belongs into these.
OS_WITHOUT_FILES = (
    {"_exit", "cpu_count", "environ", "fsdecode", "fspath", "geteuid", "getpid", "kill", "nice"}
    | {"PathLike", "pathsep", "register_at_fork", "strerror", "times", "urandom"}
)  # fmt: skip
FILE_LIBRARIES = {"fcntl", "fileinput", "glob", "io", "mmap", "shutil", "tempfile"}
FILE_METHODS = {"open", "read_bytes", "read_text", "write_bytes", "write_text", "mkdir"} | {
    "unlink",
    "rename",
    "rmdir",
    "touch",
    "iterdir",
}

# Libraries that turn bytes into code, or code into state.
FORBIDDEN_LIBRARIES = {"cloudpickle", "copyreg", "dill", "marshal", "pickle", "shelve"}
# Where the user says that he trusts the pickles of another store, here and nowhere else.
UNPICKLING = PACKAGE / "cli" / "unpickling.py"
FORBIDDEN_CALLS = {"compile", "eval", "exec", "__import__"}

FUNCTION_LINES_MAX = 50
MODULE_LINES_MAX = 400


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file, parsed once for all tests."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    """A module's name below the package; all modules of `cli` are one."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def family_of(name: str) -> str:
    """The layer of a module, by its name: draft of draft_base."""
    return name if name.startswith("__") else name.split("_", maxsplit=1)[0]


def library_files() -> list[Path]:
    """The package's modules."""
    return sorted(PACKAGE.rglob("*.py"))


def pure_files() -> list[Path]:
    """Those of them that must have no effects."""
    return [
        path
        for path in library_files()
        if family_of(name_of(path)) in PURE or name_of(path) in PURE_MODULES
    ]


def files_but(*names: str) -> list[Path]:
    """The package's modules without some."""
    assert set(names) <= set(map(name_of, library_files()))
    return [path for path in library_files() if name_of(path) not in names]


def families_but(*families: str) -> list[Path]:
    """The package's modules without some families of them."""
    return [path for path in library_files() if family_of(name_of(path)) not in families]


def all_files() -> list[Path]:
    """Every Python file that people read here."""
    folders = (ROOT / folder for folder in ("src", "tests", "examples", "benchmarks"))
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def shown(path: Path) -> str:
    """A path as it appears in a test's name."""
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, with the line: absolute, names from packages included."""
    package = ("cairndb", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join((*package[: len(package) - node.level + 1], base)).rstrip(".")
            yield node.lineno, base
            if base.startswith("cairndb"):
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def siblings(path: Path) -> Iterator[tuple[int, str]]:
    """The modules of the package that a file imports, by their names below the package."""
    known = {name_of(other) for other in library_files()}
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] == "cairndb" and len(parts) > 1 and parts[1] in known:
            yield line, parts[1]


def libraries(path: Path) -> Iterator[tuple[int, str]]:
    """The foreign libraries that a file imports."""
    for line, name in imports(path):
        top = name.split(".", maxsplit=1)[0]
        if top != "cairndb":
            yield line, top


def layer_positions() -> dict[str, tuple[int, int]]:
    """Where each module stands: line from the top, place on the line."""
    lines = LAYERS.split("\n")[1:-1]
    return {
        module: (depth, place)
        for depth, line in enumerate(lines)
        for place, module in enumerate(line.split())
    }


@pytest.mark.parametrize("path", library_files(), ids=shown)
def test_a_module_imports_only_from_below(path: Path) -> None:
    """Imports go down the layers, and on one line only to the right."""
    positions = layer_positions()
    own = family_of(name_of(path))
    assert own in positions, f"{own} has no layer: say in LAYERS (and ARCHITECTURE.md) where it is"
    wrong = [
        f"{shown(path)}:{line} imports {other}, which isn't below {own}"
        for line, other in siblings(path)
        if family_of(other) != own and positions.get(family_of(other), (99, 0)) <= positions[own]
    ]
    assert wrong == []


def test_no_modules_import_each_other() -> None:
    """There is an order in which every module can be read before those that import it."""
    graph: dict[str, set[str]] = {}
    for path in library_files():
        name = name_of(path)
        graph.setdefault(name, set()).update(o for _, o in siblings(path) if o != name)
    TopologicalSorter(graph).prepare()


def test_every_layer_exists_and_is_in_architecture() -> None:
    """The list of layers names no module that is gone, and ARCHITECTURE.md names them all."""
    architecture = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    modules = {name_of(path) for path in library_files()}
    listed = set(layer_positions())
    assert listed - modules == set()
    assert listed - {"__init__"} - set(re.findall(r"\w+", architecture)) == set()


def test_the_pure_layers_exist() -> None:
    """Every layer that is called pure has modules."""
    names = {name_of(path) for path in pure_files()}
    assert {family_of(name) for name in names - PURE_MODULES} == PURE
    assert names >= PURE_MODULES


@pytest.mark.parametrize("path", pure_files(), ids=shown)
def test_pure_modules_import_nothing_impure(path: Path) -> None:
    """Bytes, values and types know neither files nor threads nor clocks."""
    assert [
        f"{shown(path)}:{line} imports {library}"
        for line, library in libraries(path)
        if library in IMPURE_LIBRARIES
    ] == []


@pytest.mark.parametrize(
    "path", families_but("cancellation", "flusher", "locks", "server"), ids=shown
)
def test_only_locks_knows_threads(path: Path) -> None:
    """`threading` is imported by `locks`, and by `flusher`, which is made of locks, alone.

    And by `cancellation`, which is usable without the rest, and leaves names to a thread; and by
    `server`, which looks at what the threads of its process do, and locks nothing.
    """
    found = [line for line, library in libraries(path) if library in {"_thread", "threading"}]
    assert found == []


@pytest.mark.parametrize(
    "path",
    sorted({*families_but(*AT_THE_SYSTEM)} & {*files_but(*OTHER_DESCRIPTORS)}),
    ids=shown,
)
def test_only_the_lowest_layers_call_the_system_for_files(path: Path) -> None:
    """The file functions of `os`, `pathlib` and the builtins are called in them alone."""
    wrong = [(line, name) for line, name in libraries(path) if name in FILE_LIBRARIES]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "os" and node.attr not in OS_WITHOUT_FILES:
                wrong.append((node.lineno, f"os.{node.attr}"))
            if node.value.id == "Path" and node.attr in FILE_METHODS:
                wrong.append((node.lineno, f"Path.{node.attr}"))
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "open"
        ):
            wrong.append((node.lineno, "open"))
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            wrong.extend(
                (node.lineno, f"os.{alias.name}")
                for alias in node.names
                if alias.name not in OS_WITHOUT_FILES
            )
    assert wrong == []


@pytest.mark.parametrize("path", library_files(), ids=shown)
def test_nothing_turns_bytes_into_code(path: Path) -> None:
    """No pickle and its kin, but where the user asks for it by name; no eval, exec or compile."""
    forbidden = FORBIDDEN_LIBRARIES - ({"pickle"} if path == UNPICKLING else set())
    wrong = [(line, name) for line, name in libraries(path) if name in forbidden]
    wrong += [
        (node.lineno, node.func.id)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in FORBIDDEN_CALLS
    ]
    assert wrong == []


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many lines a function has without its docstring, which is read apart from it."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= (docstring.end_lineno or 0) - docstring.lineno + 1
    return lines


@pytest.mark.parametrize("path", all_files(), ids=shown)
def test_functions_fit_a_screen(path: Path) -> None:
    """No function is longer than fifty lines, its docstring apart."""
    long = [
        f"{shown(path)}:{node.lineno} {node.name}: {lines} lines"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := code_lines(node)) > FUNCTION_LINES_MAX
    ]
    assert long == []


@pytest.mark.parametrize("path", all_files(), ids=shown)
def test_modules_can_be_read_in_one_go(path: Path) -> None:
    """No module is longer than four hundred lines."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MODULE_LINES_MAX


def test_every_module_is_reachable() -> None:
    """Whoever imports the package, or runs it, gets to every module: nothing is dead."""
    graph: dict[str, set[str]] = {}
    for path in library_files():
        graph.setdefault(name_of(path), set()).update(other for _, other in siblings(path))
    reached: set[str] = set()
    waiting = ["__init__", "__main__"]
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting.extend(graph[module])
    assert set(graph) - reached == set()


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda path: path.name
)
def test_every_test_says_what_it_shows(path: Path) -> None:
    """Each test function has a docstring."""
    silent = [
        f"{path.name}:{node.lineno} {node.name}"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_every_command_is_documented() -> None:
    """README or the docs show each `cairn` command in use, and no command that isn't there.

    In use: with a database or a file of tokens, or, as `cairn trace -- COMMAND`, with a program.
    """
    commands = {command.name for command in application.registered_commands}
    for group in application.registered_groups:
        assert group.typer_instance is not None
        below = group.typer_instance.registered_commands
        commands |= {
            f"{group.name} {command.name or getattr(command.callback, '__name__', '')}"
            for command in below
        }
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    place = r"(?:\w+:\w+ )?(?:[\w.-]+\.cairn|tokens\.json|DATABASE|DIRECTORY)\b"
    taking_a_place = rf"\bcairn ([a-z]+(?: [a-z]+)?) {place}"
    running_another = r"\bcairn ([a-z]+) -- \w+"
    documented = set(re.findall(taking_a_place, text) + re.findall(running_another, text))
    assert commands - documented == set()
    assert documented - commands == set()
