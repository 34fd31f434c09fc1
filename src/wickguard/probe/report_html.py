"""The HTML report: one file that needs nothing from anywhere, on a screen by day and night, and on paper.

Decides what a reader sees first (how it went, then what is wrong, then what everything costs, then every case). Promises
that whatever a target said is escaped, that the page runs no script and loads nothing, and that a run that was cut off is
reported as far as it went. It must not know how anything was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from importlib.resources import files
from typing import TextIO

from wickguard.probe.events import CaseFinished, CurveFitted, LimitDerived, Planned, Verdict
from wickguard.probe.finding import Finding, Oracle, Severity, Taxonomy
from wickguard.probe.fit import Family, Fit
from wickguard.probe.plot import Chart, draw
from wickguard.probe.result import Result
from wickguard.units import format_bytes, format_seconds

_SWEEP = "sweep:"
_ORDER = sorted(Severity, key=lambda severity: -severity.rank)
_NOTHING_LOADED = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_CHANNELS: dict[str, tuple[str, Callable[[float], str]]] = {
    "latency_s": ("latency", format_seconds),
    "cpu_s": ("CPU time", format_seconds),
    "memory_bytes": ("memory", format_bytes),
}
_MARKS = {Verdict.SOUND: ("\u2713", "sound"), Verdict.UNCLEAR: ("?", "quiet"), Verdict.FINDING: ("\u2713", "sound")}
_WORDS = {
    Verdict.SOUND: "sound",
    Verdict.FINDING: "finding",
    Verdict.UNCLEAR: "unclear",
    Verdict.SKIPPED: "not run",
}


def write_html(result: Result, file: TextIO) -> None:
    """Write the report of `result`."""
    started = result.started
    title = f"Probe of {started.target}" if started else "Probe"
    style = files("wickguard.probe").joinpath("report.css").read_text(encoding="utf-8")
    file.write(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_NOTHING_LOADED}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
    )
    for part in (_opening, _findings, _limits, _sweeps, _matrix, _others, _facts):
        file.write(part(result) + "\n")
    file.write("</body>\n</html>\n")


def _opening(result: Result) -> str:
    started, ended = result.started, result.ended
    if started is None:
        return "<h1>An empty run</h1>"
    said = f"{started.dialect} at <code>{escape(started.path)}</code>" + (
        f", model <code>{escape(started.model)}</code>" if started.model else ""
    )
    how = (
        f"profile {started.profile}, seed {started.seed}, {escape(started.began)}, wickguard {escape(started.version)}"
    )
    return (
        f"<header>\n<h1>{escape(_headline(result))}</h1>\n<p><code>{escape(started.target)}</code>: {said}</p>\n"
        f'<p class="quiet">{how}</p>\n'
        + ("" if ended else '<p class="warning">The run was cut off: this is what it had found by then.</p>\n')
        + f'<ul class="figures">{_figures(result)}</ul>\n</header>'
    )


def _headline(result: Result) -> str:
    counts = {severity: sum(finding.severity is severity for finding in result.findings) for severity in _ORDER}
    found = [_count(count, str(severity)) for severity, count in counts.items() if count]
    if found:
        return " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)
    cases = sum(case.verdict is Verdict.SOUND for case in result.cases)
    return f"No finding in {_count(cases, 'case')}" if cases else "Nothing was run"


def _figures(result: Result) -> str:
    verdicts = {verdict: sum(case.verdict is verdict for case in result.cases) for verdict in Verdict}
    unreached = len(result.unreached)
    shown = [
        (str(verdicts[Verdict.FINDING]), "cases with findings"),
        (str(verdicts[Verdict.SOUND]), "sound"),
        (str(verdicts[Verdict.UNCLEAR]), "unclear"),
        *([(str(unreached), "not reached")] if unreached else []),
        (str(verdicts[Verdict.SKIPPED] - unreached), "not for this profile"),
    ]
    if result.ended is not None:
        shown += [
            (f"{result.ended.requests:,}", "requests"),
            (format_bytes(result.ended.bytes), "sent"),
            (format_seconds(result.ended.seconds), "taken"),
        ]
    return "".join(f"<li><b>{escape(number)}</b>{escape(what)}</li>" for number, what in shown)


def _findings(result: Result) -> str:
    if not result.findings:
        return ""
    # One card for each case, whatever number of oracles it failed, the gravest first.
    cards: dict[tuple[str, str], list[Finding]] = {}
    for finding in sorted(result.findings, key=lambda finding: -finding.severity.rank):
        cards.setdefault((finding.case, finding.title), []).append(finding)
    return "<h2>Findings</h2>\n" + "\n".join(_card(found, result) for found in cards.values())


def _card(found: list[Finding], result: Result) -> str:
    worst = found[0]
    tags = " ".join(
        f'<span class="tag {finding.severity}">{finding.severity}: {escape(_spoken(finding.oracle))}</span>'
        for finding in found
    )
    lines = dict.fromkeys(line for finding in found for line in finding.evidence)
    text = [
        f'<p>{tags} <span class="tag quiet mono">{escape(worst.case)}</span></p>',
        f"<h3>{escape(worst.title)}</h3>",
        "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>",
    ]
    for remedy in dict.fromkeys(finding.remedy for finding in found if finding.remedy):
        text.append(f"<p><b>To do:</b> {escape(remedy)}.</p>")
    if worst.reproducer is not None:
        again = f"{worst.reproducer.recipe}; {format_bytes(worst.reproducer.request_bytes)} to {worst.reproducer.path}"
        text.append(f'<p class="quiet">Again with: {escape(again)}</p>')
        text.append(f"<p><code>{escape(worst.reproducer.excerpt)}</code></p>" if worst.reproducer.excerpt else "")
    text.append(f'<p class="quiet">{escape(_ids(worst.taxonomy))}</p>')
    curve = _curve_of(found, result)
    picture = f"<figure>{_plot(curve, result)}</figure>" if curve is not None else ""
    kind = f"card finding {worst.severity}" + (" pictured" if picture else "")
    return f'<article class="{kind}"><div><div>{"".join(text)}</div>{picture}</div></article>'


def _curve_of(found: list[Finding], result: Result) -> CurveFitted | None:
    only_memory = {finding.oracle for finding in found} == {Oracle.MEMORY}
    mine = {curve.channel: curve for curve in result.curves if curve.case == found[0].case}
    return next(
        (mine[name] for name in (("memory_bytes",) if only_memory else ("cpu_s", "latency_s")) if name in mine), None
    )


def _limits(result: Result) -> str:
    if not result.limits:
        return ""
    rows = "".join(
        f'<tr><td>{escape(limit.feature)}</td><td class="number"><b>{limit.limit:,}</b></td>'
        f"<td>{escape(limit.reason)}</td></tr>"
        for limit in result.limits
    )
    return (
        '<h2>Limits that follow</h2>\n<table><thead><tr><th>feature</th><th class="number">limit</th>'
        "<th>because</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _sweeps(result: Result) -> str:
    curves = [curve for curve in result.curves if curve.case.startswith(_SWEEP)]
    return _gallery("Cost curves", curves, result) if curves else ""


def _others(result: Result) -> str:
    curves = [curve for curve in result.curves if not curve.case.startswith(_SWEEP)]
    if not curves:
        return ""
    gallery = "".join(_figure(curve, result) for curve in curves)
    return (
        f"<details><summary>{_count(len(curves), 'curve')} of the cases</summary>"
        f'{_key()}<div class="curves">{gallery}</div></details>'
    )


def _gallery(title: str, curves: Iterable[CurveFitted], result: Result) -> str:
    figures = "\n".join(_figure(curve, result) for curve in curves)
    return f'<h2>{title}</h2>\n{_key()}\n<div class="curves">\n{figures}\n</div>'


def _key() -> str:
    return (
        '<p class="key"><i class="attack">\u25cf</i> measured, with the spread of its repeats and the fitted curve \u00b7 '
        '<i class="twin">\u25cb</i> benign twin of the same bytes \u00b7 both axes logarithmic</p>'
    )


def _figure(curve: CurveFitted, result: Result) -> str:
    name, _ = _CHANNELS.get(curve.channel, (curve.channel, _plain))
    case = "" if curve.case.startswith(_SWEEP) else f"{curve.case}: "
    held = f" ({curve.fixed})" if curve.fixed else ""
    caption = f"<b>{escape(case + name)}</b> {escape(_grows(curve.fit))} in {escape(curve.feature)}{escape(held)}"
    return f'<figure class="card">{_plot(curve, result)}<figcaption>{caption}</figcaption></figure>'


def _plot(curve: CurveFitted, result: Result) -> str:
    name, say = _CHANNELS.get(curve.channel, (curve.channel, _plain))
    limit = next((item.limit for item in result.limits if _concerns(item, curve)), None)
    binary = say is format_bytes
    return draw(Chart(curve.points, curve.twin, curve.fit, curve.feature, name, _plain, say, limit, binary))


def _concerns(limit: LimitDerived, curve: CurveFitted) -> bool:
    return curve.case.startswith(_SWEEP) and limit.feature in (curve.feature, curve.case.removeprefix(_SWEEP))


def _matrix(result: Result) -> str:
    finished = {case.case: case for case in result.cases if case.verdict is not Verdict.SKIPPED}
    run = [planned for planned in result.planned if planned.case in finished]
    oracles = [oracle for oracle in Oracle if any(oracle in planned.oracles for planned in run)]
    head = "".join(f'<th class="oracle"><span>{escape(_spoken(oracle))}</span></th>' for oracle in oracles)
    rows = "\n".join(_row(planned, finished[planned.case], oracles, result) for planned in run)
    table = (
        '<p class="key">\u25cf a finding \u00b7 \u2713 looked for and not found \u00b7 ? measured too noisily to say \u00b7 '
        'empty: not looked for</p>\n<div class="wide"><table class="matrix"><thead><tr><th>case</th><th>what</th>'
        f"<th>verdict</th>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )
    return "<h2>Cases</h2>\n" + (table if run else "") + _not_run(result) if result.planned else ""


def _not_run(result: Result) -> str:
    finished = {case.case: case for case in result.cases}
    reasons: dict[str, list[str]] = {}
    for planned in result.planned:
        case = finished.get(planned.case)
        if case is None or case.verdict is Verdict.SKIPPED:
            reason = planned.skip or (case.reason if case is not None else "the run was cut off")
            reasons.setdefault(reason, []).append(planned.case)
    rows = "".join(
        f'<tr><td>{escape(reason)}</td><td class="mono">{escape(", ".join(cases))}</td></tr>'
        for reason, cases in reasons.items()
    )
    return f"<h3>Not run</h3>\n<table><tbody>{rows}</tbody></table>" if rows else ""


def _row(planned: Planned, finished: CaseFinished, oracles: list[Oracle], result: Result) -> str:
    found = {finding.oracle: finding.severity for finding in result.findings if finding.case == planned.case}
    mark, kind = _MARKS.get(finished.verdict, ("", "quiet"))
    cells = []
    for oracle in oracles:
        if oracle in found:
            cells.append(f'<td class="mark {found[oracle]}" title="{escape(_spoken(oracle))}">\u25cf</td>')
        elif oracle in planned.oracles:
            cells.append(f'<td class="mark {kind}" title="{escape(_spoken(oracle))}">{mark}</td>')
        else:
            cells.append("<td></td>")
    worst = max(found.values(), key=lambda severity: severity.rank, default=None)
    colour = str(worst) if worst is not None else "sound" if finished.verdict is Verdict.SOUND else "quiet"
    note = f'<br><span class="quiet">{escape(finished.reason)}</span>' if finished.reason else ""
    return (
        f'<tr><td class="mono case">{escape(planned.case)}</td><td>{escape(planned.title)}{note}</td>'
        f'<td class="{colour}">{_WORDS[finished.verdict]}</td>{"".join(cells)}</tr>'
    )


def _facts(result: Result) -> str:
    started, ended = result.started, result.ended
    if started is None:
        return ""
    facts = [
        ("Target", started.target),
        ("Other routes found", ", ".join(started.aliases) or "none"),
        (
            "What the target says of itself",
            ", ".join(f"{name} {value:,}" for name, value in started.limits.items()) or "nothing",
        ),
        ("Cost was read from", ", ".join(("latency", *started.channels))),
        ("The probe ran on", started.host),
    ]
    if ended is not None:
        facts.append(("The run ended", f"{ended.reason}: {ended.detail}" if ended.detail else str(ended.reason)))
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts)
    return f"<h2>How it was measured</h2>\n<table><tbody>{rows}</tbody></table>"


def _grows(fit: Fit) -> str:
    match fit.family:
        case Family.CONSTANT | Family.LINEAR:
            return f"is {fit.family}"
        case Family.CLIFF:
            return f"jumps {fit.jump:.1f} times after {_plain(fit.cliff_at or 0)}"
        case Family.EXPONENTIAL:
            return f"is {fit.describe()}"
        case _:
            return f"grows as {fit.describe()}"


def _ids(taxonomy: Taxonomy) -> str:
    cwe = tuple(f"CWE-{number}" for number in taxonomy.cwe)
    return " \u00b7 ".join((*taxonomy.owasp_api, *taxonomy.owasp_llm, *taxonomy.atlas, *cwe))


def _spoken(oracle: Oracle) -> str:
    return str(oracle).replace("_", " ")


def _count(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _plain(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size * 10 or (value >= size and value % size == 0):
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
