"""Cases of text: what tokenizers, normalisers, filters and padding make of it.

T ids of research/attacks.md section 9. Every case compares with ordinary words of the same bytes. Bounds: 256 KiB of text
in one request; words that make a backtracking filter double its time grow by two characters, and stop at the first second.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace

from wickguard.probe.case import Build, Case, Expect, Intake, Profile, Risk, Spelling, geometric
from wickguard.probe.cases.payload import SERVED_OR_REFUSED, TEXT, each, place, prose, taxonomy, texts, values
from wickguard.probe.finding import Oracle, Severity
from wickguard.probe.trace import Request, Trace, single
from wickguard.units import KIB

_WORDS = texts(lambda n: [prose(n)])
_SHAPE = frozenset({Oracle.SLOPE, Oracle.TWIN, Oracle.STALL, Oracle.LIVENESS})
_BYTES = "bytes of the text"
_SIDES = (4, 6, 8, 12, 16, 24, 32, 48, 64)
_DOUBLING = (8, 10, 12, 14, 16, 18, 20, 22, 24)


def _padded(target: Spelling, size: int, chance: random.Random) -> Trace:
    """Count and longest grow together: what pads costs their product, what does not their sum."""
    return single(target.request([prose(256 * size)] + ["hi"] * (size - 1)))


def _even(target: Spelling, size: int, chance: random.Random) -> Trace:
    """The same bytes, spread evenly."""
    share = (256 * size + 2 * (size - 1)) // size
    return single(target.request([prose(share)] * size))


def _run(
    case_id: str, title: str, make: Build, *, profile: Profile = Profile.SHORT, sizes: tuple[int, ...] = ()
) -> Case:
    return Case(
        id=case_id,
        title=title,
        risk=Risk.LIGHT,
        dialects=TEXT,
        feature=_BYTES,
        sizes=sizes or geometric(256, 16 * KIB, 9),
        attack=make,
        twin=_WORDS,
        oracles=_SHAPE,
        taxonomy=taxonomy("407 1333"),
        severity=Severity.ERROR,
        expect=Expect(statuses=SERVED_OR_REFUSED, twin_ratio=8.0),
        profile=profile,
        remedy="bound the length of a word before the tokenizer sees it, or use one that is linear",
    )


def _specials(target: Spelling) -> list[tuple[str, Request]]:
    spellings = ("<|im_start|>", "[MASK]", "[CLS][SEP]", "<image>", "<|image_pad|>", "<|endoftext|>", "</s>", "<pad>")
    return [(f"text {text}", target.request([text * 16])) for text in spellings]


def _token_ids(target: Spelling) -> list[tuple[str, Request]]:
    ids = ("[2147483648]", "[9223372036854775808]", "[-1]", "[[4294967296]]", "[[-1]]", "[1.0]", "[true]", "[[1],[]]")
    return [(f"ids {value}", place(target, value.encode())) for value in ids]


# From the Big List of Naughty Strings (Max Woolf) and Markus Kuhn's UTF-8 stress test: what breaks string handling.
_NAUGHTY = (
    "\u0000", "\ufeff", "\ufffe", "\u202e\u202d", "\u200b" * 40, "\ufdfa", "Z\u0351\u036b\u0343", "\U0001f469\u200d\U0001f469",
    "\U0001f1fa", "\u0e47" * 40, "\r\n\r\n", "%s%n%x", "{{7*7}}", "../../etc/passwd", "\\", "\"'`", "<script>", "\u2028", "1/0",
    "\U000e0001", "\U0010ffff",
)  # fmt: skip


def _naughty(target: Spelling) -> list[tuple[str, Request]]:
    return [(f"text {text[:8]!a}", target.request([text])) for text in _NAUGHTY]


def _wordy(target: Spelling, size: int, chance: random.Random) -> Trace:
    return single(target.request([prose(max(1, 16 * KIB // size))] * size))


_CASES = (
    _run("T03", "A run of one letter costs the square of its length", texts(lambda n: ["a" * n])),
    _run("T03.space", "A run of spaces costs the square of its length", texts(lambda n: [" " * (n - 1) + "x"])),
    _run("T03.digit", "A run of digits costs the square of its length", texts(lambda n: ["1" * n]), profile=Profile.STANDARD),
    _run("T03.sign", "A run of signs costs more than words", texts(lambda n: ["_" * n]), profile=Profile.STANDARD),
    Case(
        id="T04", title="Signs that are a token for each byte are priced as words", risk=Risk.LIGHT, dialects=TEXT,
        feature=_BYTES, sizes=geometric(512, 16 * KIB, 5), attack=texts(lambda n: ["\U0001f98a" * (n // 4)]),
        twin=_WORDS, oracles=frozenset({Oracle.TWIN, Oracle.SLOPE}), taxonomy=taxonomy("L 405"),
        expect=Expect(statuses=SERVED_OR_REFUSED, twin_ratio=20.0), profile=Profile.STANDARD,
        remedy="bound and price tokens, not characters",
    ),
    _run("T05", "Combining marks are normalised at quadratic cost",
         texts(lambda n: ["a" + "\u0315\u0300" * (n // 4)]), sizes=geometric(512, 32 * KIB, 6)),
    Case(
        id="T06", title="A text grows many times when it is normalised", risk=Risk.LIGHT, dialects=TEXT, feature=_BYTES,
        sizes=geometric(384, 12 * KIB, 5), attack=texts(lambda n: ["\ufdfa" * (n // 3)]), twin=_WORDS,
        oracles=frozenset({Oracle.TWIN, Oracle.SLOPE, Oracle.MEMORY}), taxonomy=taxonomy("405 409"),
        expect=Expect(statuses=SERVED_OR_REFUSED, twin_ratio=20.0), profile=Profile.STANDARD,
        remedy="check the length after normalisation, or multiply by the normaliser's largest expansion",
    ),
    Case(
        id="T08", title="The names of special tokens in a text upset the server", risk=Risk.PASSIVE, dialects=TEXT,
        feature="", sizes=(1,), attack=each(_specials), twin=None,
        oracles=frozenset({Oracle.STATUS, Oracle.LIVENESS, Oracle.RETRY}), taxonomy=taxonomy("L 129"),
        expect=Expect(statuses=SERVED_OR_REFUSED), remedy="tokenise what users send without special tokens",
    ),
    Case(
        id="T10", title="Many small inputs cost far more than their bytes", risk=Risk.LIGHT, dialects=TEXT, feature="inputs",
        sizes=geometric(1, 1024, 6), attack=_wordy, twin=None, oracles=frozenset({Oracle.STALL, Oracle.RETRY, Oracle.STATUS}),
        taxonomy=taxonomy("770 405"), expect=Expect(statuses=SERVED_OR_REFUSED),
        remedy="bound the number of inputs",
    ),
    Case(
        id="T11", title="One long input makes all short ones of a batch as dear as itself", risk=Risk.LIGHT, dialects=TEXT,
        feature="inputs, the first 256 bytes long for each of them", sizes=_SIDES, attack=_padded, twin=_even,
        oracles=frozenset({Oracle.SLOPE, Oracle.TWIN, Oracle.MEMORY}), taxonomy=taxonomy("L 405 770"),
        severity=Severity.ERROR, expect=Expect(statuses=SERVED_OR_REFUSED),
        remedy="price a batch at count x longest, or sort and split it instead of padding",
    ),
    Case(
        id="T15", title="One more token multiplies the cost", risk=Risk.LIGHT, dialects=TEXT, feature=_BYTES,
        sizes=geometric(512, 16 * KIB, 14), attack=_WORDS, twin=None, oracles=frozenset({Oracle.CLIFF}),
        taxonomy=taxonomy("L 405"), expect=Expect(statuses=SERVED_OR_REFUSED),
        remedy="price each side of the cliff by what it costs, or put the limit in front of it",
    ),
    Case(
        id="T18", title="A filter before the tokenizer doubles its time with each character", risk=Risk.LIGHT, dialects=TEXT,
        feature="characters of a word", sizes=_DOUBLING, attack=texts(lambda n: ["a" * n + "!"]),
        twin=_WORDS, oracles=frozenset({Oracle.SLOPE, Oracle.TWIN, Oracle.STALL, Oracle.LIVENESS}),
        taxonomy=taxonomy("1333"), severity=Severity.ERROR, expect=Expect(statuses=SERVED_OR_REFUSED),
        remedy="use an engine that does not backtrack, or give the filter a deadline",
    ),
    Case(
        id="T18.at", title="A filter for addresses doubles its time with each character", risk=Risk.LIGHT, dialects=TEXT,
        feature="characters of a word", sizes=_DOUBLING, attack=texts(lambda n: ["a@" + "a." * n + "!"]),
        twin=_WORDS, oracles=frozenset({Oracle.SLOPE, Oracle.TWIN, Oracle.STALL, Oracle.LIVENESS}),
        taxonomy=taxonomy("1333"), severity=Severity.ERROR, expect=Expect(statuses=SERVED_OR_REFUSED),
        profile=Profile.STANDARD, remedy="use an engine that does not backtrack, or give the filter a deadline",
    ),
    Case(
        id="T19", title="Token ids outside the vocabulary reach the model", risk=Risk.PASSIVE,
        dialects=frozenset({"openai"}), feature="", sizes=(1,), attack=each(_token_ids), twin=None,
        oracles=frozenset({Oracle.STATUS, Oracle.LIVENESS, Oracle.RETRY}), taxonomy=taxonomy("129 1284"),
        expect=Expect(statuses=SERVED_OR_REFUSED), remedy="check the range of token ids while parsing",
    ),
    Case(
        id="T19.many", title="Token ids pass by the limit on tokens", risk=Risk.LIGHT, dialects=frozenset({"openai"}),
        feature="token ids", sizes=geometric(64, 32_768, 6), attack=values(lambda n: json.dumps([1] * n).encode()),
        twin=None, oracles=frozenset({Oracle.SLOPE, Oracle.STALL, Oracle.RETRY}), taxonomy=taxonomy("129 770"),
        expect=Expect(statuses=SERVED_OR_REFUSED), profile=Profile.STANDARD,
        remedy="count token ids against the limit on tokens",
    ),
    Case(
        id="T20", title="Odd strings are answered as if the server were at fault", risk=Risk.PASSIVE, dialects=TEXT,
        feature="", sizes=(1,), attack=each(_naughty), twin=None,
        oracles=frozenset({Oracle.STATUS, Oracle.LIVENESS, Oracle.RETRY}), taxonomy=taxonomy("20"),
        expect=Expect(statuses=SERVED_OR_REFUSED), remedy="serve it, or answer 4xx",
    ),
)  # fmt: skip
CASES = tuple(replace(case, takes=Intake.TEXT) for case in _CASES)
