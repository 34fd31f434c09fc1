"""The ranking: who of those that wait has been served least, found without looking at all of them.

A heap of (rank, number, name) in which entries that no longer hold stay until they surface or are too many; `number` decides
between equals. Promises: the first that is acceptable costs O(log n), plus O(log n) for each before it that is not; memory is
at most twice what is ranked, and some. Pure; it must not know what is ranked, or why.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")
_SOME = 16


class Ranking:
    """Names by rank, least first."""

    __slots__ = ("_entries", "_holding")

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, str]] = []
        # The entry that holds, of everybody who is ranked.
        self._holding: dict[str, tuple[float, int, str]] = {}

    def __len__(self) -> int:
        return len(self._holding)

    def __iter__(self) -> Iterator[str]:
        """In no order."""
        return iter(self._holding)

    def put(self, name: str, number: int, rank: float) -> None:
        """Rank `name`, or rank it anew."""
        entry = (rank, number, name)
        if self._holding.get(name) == entry:
            return
        self._holding[name] = entry
        heapq.heappush(self._entries, entry)
        if len(self._entries) > 2 * len(self._holding) + _SOME:
            self._entries = sorted(self._holding.values())

    def discard(self, name: str) -> None:
        """`name` does not wait any more."""
        self._holding.pop(name, None)

    def first(self, accept: Callable[[str], T | None]) -> T | None:
        """What `accept` makes of the first that it accepts; None when it accepts nobody. Nothing is taken out."""
        entries, passed = self._entries, list[tuple[float, int, str]]()
        found: T | None = None
        while entries and found is None:
            # Who was taken out and came back has two equal entries until then.
            if not self._holds(entries[0]) or (passed and entries[0] == passed[-1]):
                heapq.heappop(entries)
                continue
            found = accept(entries[0][2])
            if found is None:
                passed.append(heapq.heappop(entries))
        for entry in passed:
            heapq.heappush(entries, entry)
        return found

    def _holds(self, entry: tuple[float, int, str]) -> bool:
        return self._holding.get(entry[2]) == entry
