"""The rules of the house: imports run one way and in no circle, files and functions stay short."""

import ast
import re
from pathlib import Path

import pytest
from trees import ROOT

PACKAGE = ROOT / "hgad_jax"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# Lowest first: a room may import from those above it in this list only, and rooms of one line not each other.
FLOORS = (
    ("errors",),
    ("files", "mistyped", "platforms", "precision", "progress_bar", "shapes", "types"),
    ("disk", "exit_status", "resize"),
    ("backbones", "data", "distributions", "flows", "metrics", "scoring"),
    ("detectors",),
    ("config", "papers"),
    ("runs",),
    ("artefact",),
    ("inference", "training"),
    ("evaluation", "exporting", "serving"),
    ("report", "reproducing"),
    ("api",),
    ("cli",),
)
LONGEST_FILE, LONGEST_FUNCTION = 320, 60
LONGER = {"_train": 100, "make_train_step": 80, "make_fibre_step": 80}


def imports_of(path: Path, name: str) -> set[str]:
    """Modules of the package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    found = {module for module in found if module in MODULES and module != name}
    # `from package import module` needs the package itself only where it has something of its own.
    return {m for m in found if not any(other.startswith(f"{m}.") for other in found)}


IMPORTS = {name: imports_of(path, name) for name, path in MODULES.items()}


def floor(name: str) -> int | None:
    room = name.split(".")[1] if "." in name else None
    return next((i for i, rooms in enumerate(FLOORS) if room in rooms), None)


def test_every_room_has_its_floor():
    assert {name for name in MODULES if floor(name) is None} == {"hgad_jax", "hgad_jax.__main__"}


def test_the_page_of_rooms_has_the_floors():
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", (ROOT / "docs" / "rooms.md").read_text(), re.M)
    assert [int(number) for number, _ in rows] == [*range(1, len(FLOORS) + 1)]
    assert tuple(tuple(re.findall(r"`(\w+)`", rooms)) for _, rooms in rows) == FLOORS


# A room's `__main__` is a command, which puts things of all floors together.
@pytest.mark.parametrize("name", [n for n in MODULES if "." in n and not n.endswith(".__main__")])
def test_imports_run_one_way(name):
    room = name.split(".")[1]
    for imported in IMPORTS[name] - {"hgad_jax"}:
        other = imported.split(".")[1]
        assert other == room or floor(imported) < floor(name), f"{name} imports {imported}"


def test_no_imports_run_in_a_circle():
    left = {name: {m for m in found if m != "hgad_jax"} for name, found in IMPORTS.items()}
    while free := {name for name, found in left.items() if not found & left.keys()}:
        for name in free:
            del left[name]
    assert not left, f"in a circle, or above one: {sorted(left)}"


@pytest.mark.parametrize(
    "path",
    [*PACKAGE.rglob("*.py"), *(ROOT / "configs").glob("*.py")],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_file_and_no_function_is_too_long(path):
    """Of functions the lines below the docstring; the loop and the step are one thing each, and longer."""
    text = path.read_text()
    assert text.count("\n") <= LONGEST_FILE, f"{path}: {text.count(chr(10))} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = node.end_lineno - body[0].lineno + 1 if body else 0
            longest = LONGER.get(node.name, LONGEST_FUNCTION)
            assert lines <= longest, f"{path}:{node.lineno}: {node.name} has {lines} lines"
