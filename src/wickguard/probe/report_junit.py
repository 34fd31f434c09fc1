"""The JUnit report: cases as tests, for build servers.

Decides the mapping: a case is a test, a finding a failure, an unclear or planned-out case is skipped with its reason.
Promises well-formed XML whatever a target said. It must not know how anything was measured.
"""

from __future__ import annotations

import re
from typing import TextIO
from xml.etree import ElementTree

from wickguard.probe.events import CaseFinished, Planned, Verdict
from wickguard.probe.finding import Finding
from wickguard.probe.result import Result

# What XML 1.0 can't hold at all, escaped or not.
_FORBIDDEN = re.compile("[^\\t\\n\\r\\u0020-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


def write_junit(result: Result, file: TextIO) -> None:
    """Write one test suite: a test for each planned case, and for what was found outside of any (fuzz)."""
    finished = {case.case: case for case in result.cases}
    planned = {item.case for item in result.planned}
    suite = ElementTree.Element("testsuite", {"name": "wickguard probe"})
    tests = [_test(suite, item, finished.get(item.case), result) for item in result.planned]
    for case in sorted({finding.case for finding in result.findings} - planned):
        title = next(finding.title for finding in result.findings if finding.case == case)
        tests.append(_test(suite, Planned(0.0, case, title, "", 0, 0), finished.get(case), result))
    suite.set("tests", str(len(tests)))
    suite.set("failures", str(sum(test.find("failure") is not None for test in tests)))
    suite.set("skipped", str(sum(test.find("skipped") is not None for test in tests)))
    suite.set("errors", "0")
    suite.set("time", f"{result.ended.seconds if result.ended else 0.0:.3f}")
    if result.started is not None:
        suite.set("timestamp", result.started.began)
        facts = ElementTree.Element("properties")
        for name in ("target", "dialect", "path", "model", "profile", "seed", "version"):
            ElementTree.SubElement(
                facts, "property", {"name": name, "value": _clean(str(getattr(result.started, name)))}
            )
        suite.insert(0, facts)
    ElementTree.indent(suite)
    file.write('<?xml version="1.0" encoding="UTF-8"?>\n')
    file.write(ElementTree.tostring(suite, encoding="unicode") + "\n")


def _test(
    suite: ElementTree.Element, planned: Planned, finished: CaseFinished | None, result: Result
) -> ElementTree.Element:
    test = ElementTree.SubElement(
        suite,
        "testcase",
        {
            "classname": f"wickguard.probe.{planned.risk or 'fuzz'}",
            "name": _clean(f"{planned.case} {planned.title}"),
            "time": f"{finished.seconds if finished else 0.0:.3f}",
        },
    )
    found = [finding for finding in result.findings if finding.case == planned.case]
    if found:
        worst = max(found, key=lambda finding: finding.severity.rank)
        failure = ElementTree.SubElement(
            test, "failure", {"type": str(worst.severity), "message": _clean(_line(worst))}
        )
        failure.text = _clean("\n\n".join(_paragraph(finding) for finding in found))
    elif finished is None or finished.verdict in (Verdict.SKIPPED, Verdict.UNCLEAR):
        reason = planned.skip or (finished.reason if finished else "the run was cut off")
        ElementTree.SubElement(test, "skipped", {"message": _clean(reason)})
    return test


def _line(finding: Finding) -> str:
    return f"{finding.title}: {finding.evidence[0]}" if finding.evidence else finding.title


def _paragraph(finding: Finding) -> str:
    lines = [f"{finding.severity} ({finding.oracle}): {finding.title}", *(f"  {line}" for line in finding.evidence)]
    if finding.reproducer is not None:
        lines.append(f"  again with: {finding.reproducer.recipe}")
    if finding.remedy:
        lines.append(f"  to do: {finding.remedy}")
    return "\n".join(lines)


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("?", text)
