"""The repository's own rules, executed: sizes, module comments, the map, and licences of names."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
RUST = sorted((ROOT / "engine" / "src").rglob("*.rs"))
UNTOLD = ("utils", "util", "manager", "helper", "helpers", "common", "misc", "base", "core", "handler", "v2")

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50


def relative(path: Path) -> str:
    """For readable test ids."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [*SOURCES, *RUST], ids=relative)
def test_file_stays_small(path: Path) -> None:
    """No file grows past what can be read at a sitting."""
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_functions_stay_small(path: Path) -> None:
    """No function is longer than a screen."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, functions)]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in nodes}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize("path", [*SOURCES, *RUST], ids=relative)
def test_module_opens_with_its_theory(path: Path) -> None:
    """Every module says what it is before its first statement."""
    text = path.read_text()
    opening = ast.get_docstring(ast.parse(text)) if path.suffix == ".py" else text.startswith("//!")
    assert opening


@pytest.mark.parametrize("path", [*SOURCES, *RUST], ids=relative)
def test_name_says_what_the_module_is(path: Path) -> None:
    """No module is named after nothing."""
    assert path.stem.strip("_") not in UNTOLD


def test_map_lists_every_module_when_modules_change() -> None:
    """ARCHITECTURE.md holds the module list that the modules themselves give."""
    check = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "modules.py"), "--check"], capture_output=True, text=True
    )
    assert check.returncode == 0, check.stdout
