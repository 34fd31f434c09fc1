"""Law 7: no expansion before admission. Edge, decode and price allocate at most a constant times the bytes received."""

from __future__ import annotations

import asyncio
import json
import tracemalloc

import pytest
from tests.fakes import ALICE, BOUND, MINILM, PRICES, Exchange, body

from wickguard.cost.analytic import PriceSettings
from wickguard.deadline import Deadline
from wickguard.dialect.openai import OpenAI
from wickguard.dialect.tei import Tei
from wickguard.guard.edge import BodyReader, EdgeSettings, InFlight
from wickguard.guard.embedding import Embedding
from wickguard.guard.price import Pricer
from wickguard.modality.text import TextSettings
from wickguard.records import Call, Quote, RawRequest
from wickguard.rejection import Rejection
from wickguard.units import KIB, MIB

SIZE = MIB - 200
PIECE = 64 * KIB
# What any request costs, however small: records, messages, one error.
FIXED_BYTES = 96 * KIB
PER_BYTE_REFUSED = 4
PER_BYTE_ACCEPTED = 12


def ask(inputs: bytes, rest: bytes = b"") -> bytes:
    """A request body."""
    return b'{"model":"%s","input":%s%s}' % (MINILM.name.encode(), inputs, rest)


def fill(unit: bytes, size: int = SIZE) -> bytes:
    """`unit` as often as it fits."""
    return unit * (size // len(unit))


ASTRAL = "😀".encode()

REFUSED = {
    "J02-lists": ask(b"[" + fill(b"[],") + b"[]]"),
    "J02-objects": ask(b"[" + fill(b"{},") + b"{}]"),
    "J02-empty-strings": ask(b"[" + fill(b'"",') + b'""]'),
    "J01-open": ask(fill(b"[")),
    "J01-closed": ask(b"[" * (SIZE // 2) + b"]" * (SIZE // 2)),
    "J01-objects": ask(fill(b'{"a":')),
    "J03-unknown-keys": b"{" + b",".join(b'"k%d":0' % number for number in range(SIZE // 12)) + b"}",
    "J03-one-long-key": ask(b'"x"', b',"' + fill(b"k", SIZE - 100) + ASTRAL + b'":1'),
    "J05-colliding-ids": ask(b"[" + fill(b"2305843009213693951,") + b"1]"),
    "J06-long-number": ask(b"[" + fill(b"9") + b"]"),
    "J06-long-dimensions": ask(b'"x"', b',"dimensions":' + fill(b"9", SIZE - 100)),
    "J08-one-astral": ask(b'"' + fill(b"a") + ASTRAL + b'"'),
    "J08-one-astral-in-list": ask(b'["b","' + fill(b"a") + ASTRAL + b'"]'),
    "J08-astral-behind-escapes": ask(b'"' + fill(b"\\n") + ASTRAL + b'"'),
    "J08-escaped-quotes": ask(b'"' + fill(b'\\"') + ASTRAL + b'"'),
    "J08-backslashes": ask(b'"' + fill(b"\\\\") + ASTRAL + b'"'),
    "J08-codes": ask(b'"' + fill(b"\\u0041") + ASTRAL + b'"'),
    "J08-astral-model": ask(b'"x"').replace(b"all-", fill(b"a", SIZE - 100) + ASTRAL),
    "J08-astral-user": ask(b'"x"', b',"user":"' + fill(b"a", SIZE - 100) + ASTRAL + b'"'),
    "J11-wrong-elements": ask(b"[" + fill(b"null,") + b"1]"),
    "J13-deep-unknown": b'{"z":' + fill(b"[") + b"}",
    "J13-large-unknown": ask(b'"x"', b',"z":"' + fill(b"z", SIZE - 100) + b'"'),
    "T10-many-texts": ask(b"[" + fill(b'"a",') + b'"a"]'),
    "T19-many-ids": ask(b"[" + fill(b"999,") + b"1]"),
    "T19-many-ids-in-lists": ask(b"[" + (b"[" + b"999," * 4000 + b"1],") * 63 + b"[1]]"),
    "enum-echo": ask(b'"x"', b',"encoding_format":" - at `$' + fill(b"a", SIZE - 100) + ASTRAL + b'"'),
    "no-json": fill(b"\xff"),
    "whitespace": ask(b'"x"', fill(b" ", SIZE - 100)),
    "invalid-at-the-end": ask(b'"' + fill(b"a") + b"\xff" + b'"'),
}

TEXT = "a" * (60 * KIB)
ACCEPTED = {
    "one-byte-texts": ask(json.dumps(["a"] * 64).encode()),
    "ascii": ask(json.dumps([TEXT] * 16).encode()),
    "astral": ask(json.dumps([TEXT + "😀"] * 16, ensure_ascii=False).encode()),
    "escapes": ask(json.dumps(["\n" * 30_000] * 16).encode()),
    "codes": ask(json.dumps(["é" * 10_000] * 16).encode()),
    "ids": ask(json.dumps([[30_000] * 510] * 64).encode()),
    "three-digit-ids": ask(json.dumps([[999] * 510] * 64, separators=(",", ":")).encode()),
}


async def edge_decode_price(data: bytes, piece: int) -> Call | Rejection:
    """What happens to a body before it is admitted."""
    settings = EdgeSettings()
    pieces = [data[start : start + piece] for start in range(0, len(data), piece)]
    exchange = Exchange(*[body(part, more=index < len(pieces) - 1) for index, part in enumerate(pieces)])
    decoder = Embedding({MINILM.name: MINILM}, {"openai": OpenAI(), "tei": Tei()}, TextSettings())
    pricer = Pricer(PRICES, PriceSettings())
    reader = BodyReader(settings, InFlight(settings), "t", asyncio.get_running_loop().time, settings.max_body_bytes)
    tracemalloc.start()
    read = await reader.read(exchange.receive, Deadline(1e12))
    if isinstance(read, Rejection):
        return read
    call = decoder.decode(RawRequest("r", "/v1/embeddings", ALICE, read, Deadline(1e12), 0.0), "openai")
    if isinstance(call, Rejection):
        return call
    quote = pricer.price(call)
    return call if isinstance(quote, Quote) else quote


def peak_bytes(data: bytes, piece: int = PIECE) -> tuple[Call | Rejection, int]:
    """What became of a body, and the most that was allocated for it at once."""
    try:
        found = asyncio.run(edge_decode_price(data, piece))
        return found, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", list(REFUSED))
def test_little_is_allocated_when_a_body_is_refused(name: str) -> None:
    """The joined body itself included."""
    data = REFUSED[name]
    assert len(data) > 800_000
    found, peak = peak_bytes(data)
    assert isinstance(found, Rejection)
    assert peak <= PER_BYTE_REFUSED * len(data) + FIXED_BYTES, f"{peak / len(data):.1f} bytes per byte"


@pytest.mark.parametrize("name", list(ACCEPTED))
def test_a_constant_factor_is_allocated_when_a_body_is_accepted(name: str) -> None:
    """Strings are at most four bytes a character, whatever one of them holds; ids are Python's integers."""
    data = ACCEPTED[name]
    found, peak = peak_bytes(data)
    assert isinstance(found, Call), found
    assert peak <= PER_BYTE_ACCEPTED * len(data) + FIXED_BYTES, f"{peak / len(data):.1f} bytes per byte"


@pytest.mark.parametrize("piece", [1, 2, 63, 64, 1000])
def test_little_is_allocated_when_a_body_comes_in_small_pieces(piece: int) -> None:
    """P12: pieces have a cost of their own; too many of them end the request."""
    data = ask(b'"' + b"a" * 60_000 + b'"')
    found, peak = peak_bytes(data, piece)
    accepted = isinstance(found, Call)
    assert accepted is (piece >= 64)
    assert peak <= (PER_BYTE_ACCEPTED if accepted else PER_BYTE_REFUSED) * len(data) + FIXED_BYTES


def test_the_bound_used_here_is_the_models_when_features_are_measured() -> None:
    """The fake's bound and the decoder's are one."""
    found, _ = peak_bytes(ask(b'"hello"'))
    assert isinstance(found, Call)
    assert found.features.as_dict()["token_bound"] == 5 * BOUND.expansion + BOUND.special_tokens
