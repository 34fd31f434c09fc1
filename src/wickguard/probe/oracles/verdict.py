"""Oracles of the verdict: what was answered, when, by which way in, and whether anybody still answers. Pure."""

from __future__ import annotations

from wickguard.probe.case import Case
from wickguard.probe.finding import Oracle
from wickguard.probe.observe import Observation
from wickguard.probe.oracles.suspicion import MATTERS_S, Suspicion
from wickguard.probe.printable import printable
from wickguard.probe.series import Series, latency
from wickguard.probe.trace import Reading, Step
from wickguard.probe.wire import Answer
from wickguard.units import KIB, format_bytes, format_seconds

_LATE_RATIO = 5.0
_ANSWERED_BYTES = 256 * KIB
# What merely reading a body may take on a slow day (bytes per second).
_READ_RATE = 50e6
# 5xx that are about what was asked for and say so: not implemented, version not supported.
_HONEST = frozenset({501, 505})
_RETRYABLE = frozenset({429, 500, 502, 503, 504})


def liveness(case: Case, series: Series) -> Suspicion | None:
    """The process ended or was replaced, refuses connections, or answers nothing any more, its health neither."""
    for size in series.sizes:
        for item in series.attack[size]:
            dead = series.down and not series.lives and size == series.sizes[-1]
            refused = any(answer.error == "refused" for _, answer in item.measured)
            if not item.alive or dead or refused:
                text = "it refused connections" if refused else "nothing was answered any more, health neither"
                text = text if item.alive else "its process was replaced or ended"
                evidence = (f"after the attack at {size} of {case.feature or 'its only size'} {text}",)
                return Suspicion(Oracle.LIVENESS, 1, 0, "deaths", evidence, size)
        hung_up = [step for step, answer in series.attack[size][0].measured if _hung_up(step, answer)]
        again = all(any(_hung_up(*pair) for pair in item.measured) for item in series.attack[size])
        if hung_up and again:
            evidence = (
                f"at {size} of {case.feature} the connection broke before an answer was whole, as when a process ends",
            )
            return Suspicion(Oracle.LIVENESS, len(hung_up), 0, "deaths", evidence, size, step=hung_up[0].label)
    return None


def _hung_up(step: Step, answer: Answer) -> bool:
    # A whole and ordinary request that a server might refuse, but to which it would say something: behind a supervisor
    # nothing else shows that a process died. Long bodies don't count: a refusal may be lost when they are cut off.
    ordinary = step.complete and step.reading is Reading.ALL and step.request.raw is None and not step.request.headers
    short = step.request.size_bytes <= _ANSWERED_BYTES
    without = answer.status == 0 and answer.error in ("reset", "closed")
    midway = 200 <= answer.status < 300 and answer.error in ("reset", "malformed")
    return ordinary and short and (without or midway)


def status(case: Case, series: Series) -> Suspicion | None:
    """An answer outside those that a sound server gives: a 5xx for the client's own mistake, a success for nonsense."""
    allowed = case.expect.statuses
    for size in series.sizes:
        # What ordinary requests get at the same pace is not about what was asked: the 503 of a queue that is full.
        usual = {answer.status for item in series.twin.get(size, ()) for _, answer in item.measured}
        for step, answer in (pair for item in series.attack[size] for pair in item.measured):
            code = answer.status
            if not case.expect.may_wait and (answer.continued or (not code and answer.kept_open)):
                said = "invited the rest with 100 Continue" if answer.continued else "waited for the rest"
                evidence = (f"{step.label or case.feature} at {size}: {said}; expected a refusal of the head alone",)
                return Suspicion(Oracle.STATUS, code or 100, 499, "status", evidence, size, step=step.label)
            overload = answer.asks_to_wait or (code >= 500 and code in usual)
            wrong = code not in allowed if allowed else code >= 500 and code not in _HONEST
            # No answer at all is for other oracles; an honest "busy" is not about this request.
            if code and wrong and not overload:
                told = f"answered {code} ({_excerpt(answer)})"
                expected = "a refusal (4xx)" if allowed and 200 not in allowed else "success or a refusal (4xx)"
                evidence = (f"{step.label or case.feature} at {size}: {told}; expected {expected}",)
                return Suspicion(Oracle.STATUS, code, 499, "status", evidence, size, step=step.label)
    return None


def retry(case: Case, series: Series) -> Suspicion | None:
    """A request that can never succeed is refused with a status that clients repeat."""
    for size in series.sizes:
        items, twins = series.attack[size], series.twin.get(size, [])
        for index, step in enumerate(items[0].trace.steps):
            answers = [item.answers[index] for item in items if index < len(item.answers)]
            repeats = all(answer.status in _RETRYABLE for answer in answers) and len({a.status for a in answers}) == 1
            discouraged = any(answer.headers.get("x-should-retry") == "false" for answer in answers)
            # In a quick row of requests the later ones meet a rate limit each time, and not because of what they say.
            limited = len(items[0].trace.steps) > 1 and all(answer.asks_to_wait for answer in answers)
            usual = {answer.status for item in twins for _, answer in item.measured}
            if (
                step.measured
                and len(answers) >= 2
                and repeats
                and not (discouraged or limited or answers[0].status in usual)
                and all(item.accepted for item in twins)
            ):
                evidence = (
                    f"{step.label or case.feature} at {size}: {len(answers)} times {answers[0].status}, which clients repeat, "
                    f"while ordinary requests succeed ({_excerpt(answers[0])})",
                )
                return Suspicion(Oracle.RETRY, answers[0].status, 499, "status", evidence, size, step=step.label)
    return None


def early(case: Case, series: Series) -> Suspicion | None:
    """A refusal that comes only after the body was taken, or after the work."""
    sizes = [size for size in series.sizes if any(item.status >= 400 for item in series.attack[size])]
    for size in reversed(sizes):
        taken = min(
            answer.taken_bytes for item in series.attack[size] for _, answer in item.measured if answer.status >= 400
        )
        if taken > case.expect.accepted_bytes:
            evidence = (
                f"{format_bytes(taken)} of the body were taken before the refusal; {format_bytes(case.expect.accepted_bytes)} "
                "would do",
            )
            return Suspicion(Oracle.EARLY, taken, case.expect.accepted_bytes, "bytes", evidence, size)
    return _late(case, series, sizes)


def _late(case: Case, series: Series, sizes: list[int]) -> Suspicion | None:
    costs = {size: series.least(size, latency) or 0.0 for size in sizes}
    base = min(
        (series.median(size, latency, twin=True) or 0.0 for size in series.sizes if size in series.twin), default=0.0
    )
    for size in reversed(sizes):
        sent = series.attack[size][0].trace.payload_bytes
        allowed = max(_LATE_RATIO * max(base, 0.005), MATTERS_S * 2) + sent / _READ_RATE
        if costs[size] > allowed and not any(item.timed_out for item in series.attack[size]):
            statuses = sorted({item.status for item in series.attack[size]})
            evidence = (
                f"the refusal ({statuses[0]}) of {format_bytes(sent)} took {format_seconds(costs[size])}; an ordinary request "
                f"takes {format_seconds(base)}",
            )
            return Suspicion(Oracle.EARLY, costs[size], allowed, "s", evidence, size)
    return None


def equivalence(case: Case, series: Series) -> Suspicion | None:
    """What is refused in one form is accepted in another."""
    for size in series.sizes:
        verdicts = [_bypasses(item) for item in series.attack[size]]
        innocent = {label for item in series.twin.get(size, ()) for label in _bypasses(item)}
        # In every repeat, and not in the twin.
        always = [label for label in verdicts[0] if label not in innocent and all(label in other for other in verdicts)]
        if always:
            reference, other = always[0]
            evidence = (f"at {size} of {case.feature}: refused as {reference!r}, accepted as {other!r}",)
            return Suspicion(Oracle.EQUIVALENCE, len(always), 0, "ways in", evidence, size, step=other)
    return None


def _bypasses(item: Observation) -> list[tuple[str, str]]:
    groups: dict[str, list[tuple[Step, Answer]]] = {}
    for step, answer in zip(item.trace.steps, item.answers, strict=True):
        if step.group:
            groups.setdefault(step.group, []).append((step, answer))
    found = []
    for (reference, said), *others in groups.values():
        if said.refused and not said.ok:
            found += [(reference.label, step.label) for step, answer in others if answer.ok]
    return found


def connection(case: Case, series: Series) -> Suspicion | None:
    """A connection on which nothing is sent or read is held open."""
    for size in series.sizes:
        for item in series.attack[size]:
            held = [pair for pair in zip(item.trace.steps, item.answers, strict=True) if pair[1].kept_open]
            if held and max(answer.open_s for _, answer in held) > case.expect.close_s:
                worst = max(answer.open_s for _, answer in held)
                evidence = (
                    f"{len(held)} of {len(item.trace.steps)} connections were still open after {format_seconds(worst)}; "
                    f"{format_seconds(case.expect.close_s)} should do",
                )
                return Suspicion(Oracle.CONNECTION, worst, case.expect.close_s, "s", evidence, size)
    return None


def _excerpt(answer: Answer) -> str:
    return printable(answer.head[:80].decode("utf-8", "replace"))
