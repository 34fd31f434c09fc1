"""The composer: texts of an exact size that cost what a real text of that size and register costs.

Decides how words become a text: how often which, how long a sentence, where a comma stands, what follows a line of code.
Promises exactly the bytes that were asked for, in UTF-8, and the same text for the same order of choices. It must not know
tokens, models or prices.
"""

from __future__ import annotations

import base64
import itertools
import random
from collections.abc import Callable, Iterator, Sequence

from wickguard.modality.lexicon import LESS_COMMON, RARE, WORDS, Register

# Zipf's law with Mandelbrot's offset: the frequency of the n-th word is proportional to 1 / (n + offset). Registers whose
# only list is short get a flatter law, because in a real text half of the words are not among the hundred most frequent.
_OFFSET = 2.7
_FLAT_OFFSET = 25.0
# Shares of words in English: frequent, less common, rare; the rest are numbers.
_MIXTURE = {
    Register.PROSE: (0.60, 0.32, 0.065),
    Register.TALK: (0.72, 0.22, 0.03),
    Register.TECHNICAL: (0.82, 0.13, 0.02),
}
_FREQUENT = {
    register: tuple(
        itertools.accumulate(
            1 / (rank + (_OFFSET if register in _MIXTURE else _FLAT_OFFSET)) for rank in range(1, len(words) + 1)
        )
    )
    for register, words in WORDS.items()
}
_ENDINGS = ("", "", "", "", "s", "s", "ed", "ing", "er", "ly")
_DRAWN = 24


def compose(register: Register, size_bytes: int, order: random.Random) -> str:
    """A text of `size_bytes` UTF-8 bytes, with the choices that `order` makes."""
    data = bytearray()
    for piece in _PIECES.get(register, _sentences)(register, order):
        if len(data) >= size_bytes:
            break
        data += piece.encode()
    text = data[:size_bytes].decode(errors="ignore")
    # Half a character at the end is replaced by as many letters as it had bytes.
    return text + "e" * (size_bytes - len(text.encode()))


def _sentences(register: Register, order: random.Random) -> Iterator[str]:
    while True:
        words = _words(register, order, order.randint(4, _DRAWN))
        for index in range(1, len(words) - 1):
            if order.random() < 0.06:
                words[index] += ","
        if register is not Register.TALK or order.random() < 0.5:
            words[0] = words[0][:1].upper() + words[0][1:]
        yield " ".join(words) + order.choices((". ", "? ", "! ", ".\n", ": "), (80, 6, 2, 9, 3))[0]


def _words(register: Register, order: random.Random, count: int) -> list[str]:
    frequent = order.choices(WORDS[register], cum_weights=_FREQUENT[register], k=count)
    mixture = _MIXTURE.get(register)
    if mixture is None:
        return [_number(order) if order.random() < 0.015 else word for word in frequent]
    kinds = order.choices(range(4), (*mixture, 1 - sum(mixture)), k=count)
    return [word if kind == 0 else _other(kind, order) for kind, word in zip(kinds, frequent, strict=True)]


def _other(kind: int, order: random.Random) -> str:
    if kind == 1:
        return order.choice(LESS_COMMON) + order.choice(_ENDINGS)
    return order.choice(RARE) if kind == 2 else _number(order)


def _number(order: random.Random) -> str:
    return str(order.randrange(10 ** order.randint(1, 4)))


def _unspaced(register: Register, order: random.Random) -> Iterator[str]:
    while True:
        signs = order.choices(WORDS[register], cum_weights=_FREQUENT[register], k=order.randint(5, 2 * _DRAWN))
        yield "".join(signs) + order.choice("、。。")


def _code(register: Register, order: random.Random) -> Iterator[str]:
    while True:
        parts = order.choices(WORDS[register], cum_weights=_FREQUENT[register], k=order.randint(2, 9))
        parts += [f"{order.choice(LESS_COMMON)}_{order.choice(LESS_COMMON)}"] * order.randint(0, 1)
        order.shuffle(parts)
        yield " " * (4 * order.randint(0, 4)) + " ".join(parts) + order.choice(("\n", ":\n", ";\n", ")\n", "\n\n"))


def _data(register: Register, order: random.Random) -> Iterator[str]:
    while True:
        parts = order.choices(WORDS[register], cum_weights=_FREQUENT[register], k=order.randint(3, 12))
        parts += order.choices(LESS_COMMON, k=order.randint(0, 4))
        order.shuffle(parts)
        yield " ".join(parts) + order.choice((", ", "\n", ",\n    "))


def _blob(register: Register, order: random.Random) -> Iterator[str]:
    while True:
        drawn = order.randbytes(order.randint(8, 60))
        yield (base64.b64encode(drawn).decode() if order.random() < 0.5 else drawn.hex()) + order.choice(" \n")


def _letters(register: Register, order: random.Random) -> Iterator[str]:
    while True:
        yield "".join(order.choices("abcdefghijklmnopqrstuvwxyz", k=order.randint(1, 2))) + " "


_PIECES: dict[Register, Callable[[Register, random.Random], Iterator[str]]] = {
    Register.CHINESE: _unspaced,
    Register.JAPANESE: _unspaced,
    Register.CODE: _code,
    Register.DATA: _data,
    Register.BLOB: _blob,
    Register.LETTERS: _letters,
}


def compose_ids(count: int, vocab: int, order: random.Random) -> list[int]:
    """`count` token ids of a vocabulary of `vocab`."""
    return [order.randrange(vocab) for _ in range(count)]


def draw(shares: Sequence[tuple[Register, float]], order: random.Random) -> Register:
    """A register, each with its share."""
    return order.choices([register for register, _ in shares], [share for _, share in shares])[0]
