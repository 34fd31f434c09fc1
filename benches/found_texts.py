"""Texts found on this machine that nobody wrote for a bench: documentation, licences, manual pages, source code, data.

Decides where to look and with which share each source is drawn. What a machine does not have is left out, and said. It must not
know prices.
"""

from __future__ import annotations

import gzip
import json
import math
import pydoc_data.topics
import random
import re
import sysconfig
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

# Enough of each source that two thousand excerpts rarely overlap (characters).
MOST = 1_500_000
MANUALS = Path("/usr/share/man")
LANGUAGES = ("de", "fr", "es", "it", "pt_BR", "pl", "tr", "ru", "ja", "ko")
FEWEST = 20_000


def readmes() -> Iterator[str]:
    """Descriptions of installed packages: prose with some markup."""
    for package in metadata.distributions():
        yield str(package.metadata.get_payload() or "")  # type: ignore[attr-defined]


def licences() -> Iterator[str]:
    """Legal prose."""
    for path in sorted(Path("/usr/share/common-licenses").glob("*")):
        yield path.read_text(errors="ignore")
    for package in metadata.distributions():
        for file in package.files or ():
            if file.name.upper().startswith("LICEN"):
                yield Path(str(package.locate_file(file))).read_text(errors="ignore")


def documentation() -> Iterator[str]:
    """The Python language reference."""
    yield from pydoc_data.topics.topics.values()


def source_code() -> Iterator[str]:
    """The Python standard library."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        yield path.read_text(errors="ignore")


def data() -> Iterator[str]:
    """JSON files of installed packages, indented as people send them."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).parent.rglob("*.json")):
        text = path.read_text(errors="ignore")
        if len(text) < MOST:
            yield json.dumps(json.loads(text), indent=1) if text.startswith(("{", "[")) else ""


def manual(folder: str) -> Callable[[], Iterator[str]]:
    """Manual pages of a language ("" is English), without their markup."""

    def pages() -> Iterator[str]:
        for path in sorted((MANUALS / folder).glob("man*/*.gz")):
            text = gzip.decompress(path.read_bytes()).decode(errors="ignore")
            text = re.sub(r'^(\.\\"|\.TH|\').*$', "", text, flags=re.MULTILINE)
            yield re.sub(r"\\f[BIRP]|\\-|^\.\w+ ?", "", text, flags=re.MULTILINE)

    return pages


SOURCES: tuple[tuple[str, float, Callable[[], Iterator[str]]], ...] = (
    ("package descriptions", 0.30, readmes),
    ("licences", 0.12, licences),
    ("language reference", 0.15, documentation),
    ("English manual pages", 0.13, manual("")),
    ("source code", 0.10, source_code),
    ("JSON", 0.05, data),
    *((f"manual pages, {language}", 0.015, manual(language)) for language in LANGUAGES),
)


class Corpus:
    """What was found. missing: sources that this machine does not have."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._shares: list[float] = []
        self.missing: list[str] = []
        for name, share, read in SOURCES:
            text = _joined(read())
            if len(text) < FEWEST:
                self.missing.append(name)
                continue
            self._texts[name] = text
            self._shares.append(share)

    def draw(self, order: random.Random) -> str:
        """A source, each with its share."""
        return order.choices(list(self._texts), self._shares)[0]

    def excerpt(self, source: str, order: random.Random, most: int = 2000) -> str:
        """A passage from `source`: 15 to `most` characters, as often short as long, from one word's beginning."""
        text = self._texts[source]
        size = round(math.exp(order.uniform(math.log(15), math.log(most))))
        start = order.randrange(len(text) - size - 100)
        blank = text.find(" ", start, start + 80)
        begin = start if blank < 0 else blank + 1
        return text[begin : begin + size]


def _joined(texts: Iterator[str]) -> str:
    found, size = [], 0
    for text in texts:
        found.append(text)
        size += len(text)
        if size > MOST:
            break
    return "\n".join(found)
