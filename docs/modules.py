"""The module list of ARCHITECTURE.md, generated from the modules themselves, so that it can't drift from them.

`python docs/modules.py` rewrites the list between its markers; `--check` exits 1 when it is not up to date (tests do this).
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "ARCHITECTURE.md"
START, END = "<!-- modules: start -->", "<!-- modules: end -->"


def summary(path: Path) -> str:
    """The first line of a module's opening comment."""
    if path.suffix == ".rs":
        return next((line[3:].strip() for line in path.read_text().splitlines() if line.startswith("//!")), "")
    return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]


def listing() -> str:
    """Markdown: one section per folder, one row per module."""
    lines: list[str] = []
    python = ROOT / "src" / "wickguard"
    rust = ROOT / "engine" / "src"
    for folder in [python, *sorted(item for item in python.rglob("*") if item.is_dir() and item.name != "__pycache__")]:
        files = sorted(folder.glob("*.py"), key=lambda item: (item.name != "__init__.py", item.name))
        lines += section(folder, files)
    for folder in [rust, *sorted(item for item in rust.rglob("*") if item.is_dir())]:
        lines += section(folder, sorted(folder.glob("*.rs")))
    return "\n".join(lines)


def section(folder: Path, files: list[Path]) -> list[str]:
    """One folder."""
    if not files:
        return []
    rows = [f"| `{file.name}` | {summary(file)} |" for file in files]
    return [f"### {folder.relative_to(ROOT)}/", "", "| module | what it is |", "|---|---|", *rows, ""]


def main() -> int:
    """Rewrite or check; returns the exit code."""
    page = PAGE.read_text()
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    wanted = f"{before}{START}\n\n{listing()}\n{END}{after}"
    if "--check" in sys.argv:
        if wanted != page:
            print("ARCHITECTURE.md does not list the modules as they are; run: python docs/modules.py")
        return int(wanted != page)
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
