"""A bench report: tables for the terminal, the same as Markdown in benches/results, with the machine they ran on.

Decides the layout only. It must not know what is measured.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """One line: CPU, cores, memory, kernel, Python, date."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return f"{model}, {cores} cores, {memory:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}, {day}"


def commit() -> str:
    """The commit that is measured, with + when the tree differs from it."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    dirty = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "src", "engine"], check=False).returncode != 0
    return (head.stdout.strip() or "no commit") + ("+" if dirty else "")


@dataclass
class Report:
    """A named report of tables and notes, in order."""

    name: str
    title: str
    parts: list[tuple[str, Sequence[str], Sequence[Sequence[str]]] | str] = field(default_factory=list)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a table and print it."""
        self.parts.append((title, columns, rows))
        shown = Table(title=title, title_justify="left")
        for number, column in enumerate(columns):
            shown.add_column(column, justify="left" if number == 0 else "right")
        for row in rows:
            shown.add_row(*row)
        Console().print(shown)

    def note(self, text: str) -> None:
        """Add a paragraph and print it."""
        self.parts.append(text)
        Console().print(text, soft_wrap=True)

    def write(self) -> Path:
        """Write benches/results/NAME.md."""
        lines = [f"# {self.title}", "", f"Machine: {machine()}. Commit {commit()}.", ""]
        for part in self.parts:
            if isinstance(part, str):
                lines += [part, ""]
                continue
            title, columns, rows = part
            lines += [f"## {title}", "", "| " + " | ".join(columns) + " |"]
            lines += ["|" + "|".join(["---"] + ["---:"] * (len(columns) - 1)) + "|"]
            lines += ["| " + " | ".join(row) + " |" for row in rows]
            lines.append("")
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.md"
        path.write_text("\n".join(lines))
        return path
