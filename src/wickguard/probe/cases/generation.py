"""Cases of text that is written: what a request may ask of a generator beside its prompt, and streams that are left alone.

G ids of research/attacks.md section 9 (what is compiled before a token is written is in grammars.py). Decides one field for
each case; the prompt stays the ordinary one, so that nothing else can be to blame. Promises that a server which caps its
answers and shares its time is accused of nothing by them: where cost may follow the number that was asked for, only what
neighbours feel is judged. It must not know which server stands behind the route. Bounds: 256 KiB in one request, 24 streams at
once, answers of `LONG_TOKENS` but for the cases that ask for more to see whether they get it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace

from wickguard.probe.case import Case, Expect, Intake, Profile, Risk, Spelling, geometric
from wickguard.probe.cases.payload import (
    COLLIDING,
    FATE,
    GROWTH,
    OPENAI,
    SERVED_OR_REFUSED,
    as_many,
    beside,
    paced,
    prose,
    taxonomy,
)
from wickguard.probe.finding import Oracle, Severity
from wickguard.probe.spelling import MAX_TOKENS
from wickguard.probe.trace import Reading, Step, Trace, single
from wickguard.units import MIB

# Of an answer that is worth not reading; most servers allow twice as many.
LONG_TOKENS = 256
_STORY = ["Tell the story of the quiet river from its spring to the sea."]
_ODD_COUNTS = ("0", "-1", "null", str(2**31), str(2**63), "1.5", '"8"', "true")
# So many bytes of prompt have their own probabilities asked for.
_LISTED_BYTES = 512
_NAME_BYTES = 5000
_GAP_S = 0.004


def is_chat(target: Spelling) -> bool:
    """Whether the route takes messages; the other one takes a bare prompt."""
    return target.path.endswith("/chat/completions")


def _odd_counts(target: Spelling, size: int, chance: random.Random) -> Trace:
    # Of two names for the same number, one may lack the check.
    names = ("max_tokens", "max_completion_tokens") if is_chat(target) else ("max_tokens",)
    return paced((f"{name} {value}", beside(target, name, value.encode())) for name in names for value in _ODD_COUNTS)


def _listed(target: Spelling, size: int, chance: random.Random) -> Trace:
    fields = {"logprobs": True, "top_logprobs": size} if is_chat(target) else {"logprobs": size}
    return single(target.request(["quiet river"], **fields))


def _listed_prompt(target: Spelling, size: int, chance: random.Random) -> Trace:
    return single(target.request([prose(_LISTED_BYTES)], prompt_logprobs=size))


def _stops(target: Spelling, size: int, chance: random.Random) -> Trace:
    stops = [f"wickguard-probe: no text has this line in it, {index:019d}" for index in range(size)]
    return single(target.request(["quiet river"], stop=stops))


def _biases(key: Callable[[int], int]) -> Callable[[Spelling, int, random.Random], Trace]:
    def build(target: Spelling, size: int, chance: random.Random) -> Trace:
        biases = {str(key(index)): 1 for index in range(1, size + 1)}
        return single(target.request(["quiet river"], logit_bias=biases))

    return build


def _tools(target: Spelling, size: int, chance: random.Random) -> Trace:
    parameters = {"type": "object", "properties": {"place": {"type": "string"}}}
    functions = (
        {"name": f"look_{index}", "description": "Look there.", "parameters": parameters} for index in range(size)
    )
    return single(
        target.request(["quiet river"], tools=[{"type": "function", "function": function} for function in functions])
    )


def _endless(target: Spelling, size: int, chance: random.Random) -> Trace:
    return single(target.request(_STORY, max_tokens=size, min_tokens=size, ignore_eos=True))


def _streams(
    target: Spelling, count: int, gap_s: float, max_tokens: int, reading: Reading, hold_s: float = 0.0
) -> Trace:
    request = target.request(_STORY, stream=True, max_tokens=max_tokens)
    step = Step(request, reading=reading, hold_s=hold_s, measured=False)
    return Trace(tuple(replace(step, at_s=index * gap_s) for index in range(count)))


def _unread(target: Spelling, size: int, chance: random.Random) -> Trace:
    return _streams(target, size, 0.02, LONG_TOKENS, Reading.NOTHING, hold_s=4.0)


def _read(target: Spelling, size: int, chance: random.Random) -> Trace:
    """The same streams: what they cost is no fault, only what nobody reads would be."""
    return _streams(target, size, 0.02, LONG_TOKENS, Reading.ALL)


def _left(target: Spelling, size: int, chance: random.Random) -> Trace:
    # A server that stops at once is busy with them for a quarter of the time, and nobody waits longer than one of them is
    # there; one that writes on has more to do with each that leaves.
    return _streams(target, size, 0.4, 2 * LONG_TOKENS, Reading.HANG_UP, hold_s=0.1)


def _left_short(target: Spelling, size: int, chance: random.Random) -> Trace:
    """Left as soon, but there is little to write on."""
    return _streams(target, size, 0.4, MAX_TOKENS, Reading.HANG_UP, hold_s=0.1)


def _named(target: Spelling, names: list[str]) -> Trace:
    found = json.loads(target.request(["quiet river"]).body)
    if "max_tokens" in found:
        # A server of one model may take any name, and is not to write for each.
        found["max_tokens"] = 1
    return paced((("", target.json(found | {"model": name})) for name in names), _GAP_S)


def _unknown_models(target: Spelling, size: int, chance: random.Random) -> Trace:
    salt = chance.getrandbits(64)
    # Long enough for what is kept of them to show.
    return _named(target, [f"wickguard-probe/{salt:x}-{index}-{'m' * _NAME_BYTES}" for index in range(size)])


def _unknown_model(target: Spelling, size: int, chance: random.Random) -> Trace:
    return _named(target, [f"wickguard-probe/{chance.getrandbits(64):x}-{'m' * _NAME_BYTES}"] * size)


_BELIEVED = frozenset({Oracle.SLOPE, Oracle.AMPLIFICATION, Oracle.MEMORY, Oracle.STALL, Oracle.STATUS})
# The bytes of a number don't grow with it: nothing else may either.
_NUMBER = Expect(statuses=SERVED_OR_REFUSED, exponent=0.5, response_ratio=256.0, memory_floor_bytes=16 * MIB)

_CASES = (
    Case(
        id="G01", title="Odd lengths of an answer are answered as if the server were at fault", risk=Risk.LIGHT,
        dialects=OPENAI, feature="", sizes=(1,), attack=_odd_counts, twin=as_many(_odd_counts), oracles=FATE,
        taxonomy=taxonomy("L T34.1 1284"), expect=Expect(statuses=SERVED_OR_REFUSED),
        remedy="give max_tokens a range, and refuse what is outside it or no whole number",
    ),
    Case(
        id="G03", title="The number of log-probabilities is believed", risk=Risk.LIGHT, dialects=OPENAI,
        feature="log-probabilities for each token", sizes=geometric(100, 1_000_000, 5), attack=_listed, twin=None,
        oracles=_BELIEVED, taxonomy=taxonomy("770 789"), severity=Severity.ERROR, expect=_NUMBER, profile=Profile.STANDARD,
        remedy="allow a score of them at most, and price them",
    ),
    Case(
        id="G03.prompt", title="The number of log-probabilities of the prompt is believed", risk=Risk.LIGHT,
        dialects=OPENAI, feature="log-probabilities for each token", sizes=geometric(100, 1_000_000, 5),
        attack=_listed_prompt, twin=None, oracles=_BELIEVED, taxonomy=taxonomy("770 789"), severity=Severity.ERROR,
        expect=_NUMBER, profile=Profile.STANDARD, remedy="allow a score of them at most, or none",
    ),
    Case(
        id="G04", title="Any number of stop strings is looked for after each token", risk=Risk.LIGHT, dialects=OPENAI,
        feature="stop strings", sizes=geometric(4, 2048, 5), attack=_stops, twin=None, oracles=GROWTH,
        taxonomy=taxonomy("407 834"), remedy="bound the number of stop strings and the length of each",
    ),
    Case(
        id="G05", title="Biases for token ids that collide are put in a map", risk=Risk.LIGHT, dialects=OPENAI,
        feature="biases", sizes=geometric(400, 8000, 8), attack=_biases(lambda index: index * COLLIDING),
        # As many keys of as many digits that do not collide; both are refused in the end, so that is when cost counts.
        twin=_biases(lambda index: index * COLLIDING + index),
        oracles=frozenset({Oracle.SLOPE, Oracle.TWIN, Oracle.STALL, Oracle.EARLY}),
        taxonomy=taxonomy("407 770"), severity=Severity.ERROR, profile=Profile.STANDARD,
        remedy="check the range of a token id before it becomes a key, and bound their number",
    ),
    Case(
        id="G11", title="Any number of tools is taken", risk=Risk.LIGHT, dialects=OPENAI, feature="tools",
        sizes=geometric(1, 512, 5), attack=_tools, twin=None, oracles=GROWTH, taxonomy=taxonomy("L 770"),
        profile=Profile.STANDARD, remedy="bound the number and the bytes of tools, and price them as prompt",
    ),
    Case(
        id="G13", title="One answer of any length holds up everybody", risk=Risk.HEAVY, dialects=OPENAI,
        feature="tokens at least", sizes=geometric(100, 1_000_000, 5), attack=_endless, twin=None,
        # A long answer may cost what it costs; that it ends at the server's own cap shows in what others feel.
        oracles=frozenset(
            {Oracle.STATUS, Oracle.LIVENESS, Oracle.STALL, Oracle.MEMORY, Oracle.COLLATERAL, Oracle.RECOVERY}
        ),
        # Whoever caps the time as well may say so with these.
        taxonomy=taxonomy("L T34.1 770"), expect=Expect(statuses=(*SERVED_OR_REFUSED, 408, 504)), profile=Profile.STANDARD,
        remedy="cap the tokens and the time of an answer, whatever the request says, and let others take turns",
    ),
    Case(
        id="G18", title="Streams that nobody reads hold up everybody", risk=Risk.HEAVY, dialects=OPENAI,
        feature="streams", sizes=(24,), attack=_unread, twin=_read,
        oracles=frozenset({Oracle.COLLATERAL, Oracle.LIVENESS, Oracle.RECOVERY, Oracle.MEMORY}),
        taxonomy=taxonomy("770 400"), severity=Severity.ERROR, profile=Profile.STANDARD, pause_s=1.0,
        remedy="bound what is kept for each stream, and end it when its client does not read within a deadline",
    ),
    Case(
        id="G23", title="A stream is written on for a client that has left", risk=Risk.LIGHT, dialects=OPENAI,
        feature="streams left in the middle", sizes=(10,), attack=_left, twin=_left_short,
        oracles=frozenset({Oracle.COLLATERAL, Oracle.LIVENESS, Oracle.RECOVERY}), taxonomy=taxonomy("404 405"),
        severity=Severity.ERROR, profile=Profile.STANDARD, pause_s=2.5,
        remedy="stop the generation when its client leaves, within a token",
    ),
)  # fmt: skip
CASES = (
    *(replace(case, takes=Intake.PROMPT) for case in _CASES),
    Case(
        id="G25", title="Each unknown model leaves something behind", risk=Risk.LIGHT, dialects=OPENAI, feature="requests",
        sizes=(240,), attack=_unknown_models, twin=_unknown_model,
        oracles=frozenset({Oracle.MEMORY, Oracle.STATUS, Oracle.RETRY}), taxonomy=taxonomy("770 799"),
        # Served, too: a server of one model may take any name, as long as it keeps none.
        expect=Expect(statuses=SERVED_OR_REFUSED, memory_floor_bytes=12 * MIB), profile=Profile.STANDARD, fresh=True,
        remedy="look a model up in a closed set, and use no unknown name as a label or a key",
    ),
)  # fmt: skip
