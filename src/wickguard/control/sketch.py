"""Sketches: what very many identities spent, in a memory that does not grow with them.

`CountMin` answers "how much did this one spend lately", never too little (Cormode and Muthukrishnan 2005), with conservative
update (Estan and Varghese 2002) and two generations of one half-life each, the older one fading linearly.
`HeavyHitters` keeps the identities that spent most (Space-Saving, Metwally et al. 2005), weighted by what they spent, since
the heavy hitter that matters is the expensive one and not the frequent one.

Promises: an estimate is at least what was spent in the current generation plus the unfaded share of the last; too high by
more than e/width of the total with probability e^-depth at most; any key with more than total/capacity is among the heavy
ones. Memory is fixed, each operation takes a bounded time. The hash is keyed with a secret seed, or callers could choose
whom they collide with. It must not know what an identity is.
"""

from __future__ import annotations

import heapq
from array import array
from hashlib import blake2b

WIDTH = 4096
DEPTH = 4


class CountMin:
    """Spending by key, estimated from above. `half_life_s` is the length of a generation."""

    __slots__ = ("_current", "_half_life", "_last", "_seed", "_since")

    def __init__(self, seed: bytes, half_life_s: float = 60.0) -> None:
        self._seed = seed[:64]
        self._half_life = half_life_s
        self._since = 0.0
        self._current = array("d", bytes(8 * WIDTH * DEPTH))
        self._last = array("d", bytes(8 * WIDTH * DEPTH))

    def rotate(self, now: float) -> bool:
        """Begin a new generation when the current one is a half-life old; whether it did. Call before other methods."""
        age = now - self._since
        if age < self._half_life:
            return False
        empty = array("d", bytes(8 * WIDTH * DEPTH))
        # After two half-lives without a call, what is current has faded as well.
        self._last = self._current if age < 2 * self._half_life else empty[:]
        self._current = empty
        self._since = now
        return True

    def add(self, key: str, amount: float) -> None:
        """`key` has spent `amount`. Only cells below its new estimate are raised (conservative update)."""
        cells, current = self._cells(key), self._current
        raised = min([current[cell] for cell in cells]) + amount
        for cell in cells:
            if current[cell] < raised:
                current[cell] = raised

    def estimate(self, now: float, key: str) -> float:
        """What `key` spent in this generation, and what has not faded of the last one; never too little."""
        cells, current, last = self._cells(key), self._current, self._last
        fading = min([last[cell] for cell in cells])
        if fading:
            fading *= max(0.0, 1 - (now - self._since) / self._half_life)
        return min([current[cell] for cell in cells]) + fading

    def _cells(self, key: str) -> tuple[int, int, int, int]:
        # One keyed hash gives four independent columns of 12 bits.
        digest = blake2b(key.encode(), digest_size=6, key=self._seed).digest()
        bits = int.from_bytes(digest, "little")
        return (bits & 4095, 4096 + (bits >> 12 & 4095), 8192 + (bits >> 24 & 4095), 12288 + (bits >> 36))


class HeavyHitters:
    """The `capacity` keys that weigh most; each with the error that its weight may contain."""

    __slots__ = ("_capacity", "_found", "_heap", "total")

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self.total = 0.0
        self._found: dict[str, tuple[float, float]] = {}
        # (weight when pushed, key): weights only grow, so a stale top is pushed again with its present weight. A key that
        # was removed leaves its entry behind; there are at most as many of those as keys.
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, key: str, weight: float) -> float:
        """Count `weight` for `key`; returns what it is known to weigh at least (its count less its error)."""
        self.total += weight
        found = self._found.get(key)
        if found is not None:
            self._found[key] = (found[0] + weight, found[1])
            return found[0] + weight - found[1]
        error = 0.0
        if len(self._found) >= self._capacity:
            error = self._evict_lightest()
        self._found[key] = (error + weight, error)
        heapq.heappush(self._heap, (error + weight, key))
        return weight

    def remove(self, key: str) -> None:
        """Forget `key` (it is counted exactly from now on). Unknown keys are ignored."""
        if self._found.pop(key, None) is not None and len(self._heap) > 2 * self._capacity:
            self._rebuild()

    def halve(self) -> None:
        """Let a half-life pass: all weights and errors are halved."""
        self.total /= 2
        self._found = {key: (weight / 2, error / 2) for key, (weight, error) in self._found.items()}
        self._rebuild()

    def weights(self) -> dict[str, tuple[float, float]]:
        """Key to (weight, error): the true weight is between weight - error and weight."""
        return dict(self._found)

    def _rebuild(self) -> None:
        self._heap = [(weight, key) for key, (weight, _) in self._found.items()]
        heapq.heapify(self._heap)

    def _evict_lightest(self) -> float:
        while True:
            weight, key = self._heap[0]
            found = self._found.get(key)
            if found is None:
                heapq.heappop(self._heap)
            elif found[0] == weight:
                heapq.heappop(self._heap)
                del self._found[key]
                return weight
            else:
                heapq.heapreplace(self._heap, (found[0], key))
