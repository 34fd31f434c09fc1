"""Reports: valid by their own standards, complete, and safe whatever a target said."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree

import jsonschema_rs
import pytest
from tests.unit.probe.runs import HOSTILE, clean, cut_off, whole

from wickguard.probe.finding import Severity
from wickguard.probe.plot import HEIGHT, WIDTH
from wickguard.probe.report_html import write_html
from wickguard.probe.report_junit import write_junit
from wickguard.probe.report_sarif import sarif, write_sarif
from wickguard.probe.result import Result

SCHEMA = Path(__file__).parent / "schema" / "sarif-2.1.0.json"
RUNS = [pytest.param(make, id=make.__name__) for make in (whole, cut_off, clean, Result)]


def written(write: Callable[[Result, TextIO], None], result: Result) -> str:
    """What a report writes."""
    file = io.StringIO()
    write(result, file)
    return file.getvalue()


def validator() -> jsonschema_rs.Validator:
    """The official schema, but for one pattern in it that is no regular expression (of a field that is not used here)."""
    text = SCHEMA.read_text().replace("[a-zA-Z]{2}]?$", "[a-zA-Z]{2}$")
    return jsonschema_rs.validator_for(json.loads(text))


class Page(HTMLParser):
    """A page as a browser sees it: which elements are open, what is asked for, and whether every tag is closed."""

    VOID = frozenset({"meta", "br", "line", "circle", "polyline"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element of SVG that closes itself."""
        self.seen.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        """An element ends: the one that was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text."""
        self.text += data


@pytest.mark.parametrize("make", RUNS)
def test_page_is_well_formed_and_loads_nothing_when_written(make: Callable[[], Result]) -> None:
    """Every element is closed; no script, no frame, no address that a browser would fetch, no handler."""
    page = Page(written(write_html, make()))
    assert page.open == []
    assert not {"script", "iframe", "object", "link", "img", "form"} & set(page.seen)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "href", "style")]
    assert (
        "content",
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    ) in page.attributes


def test_page_shows_findings_curves_limits_and_every_case_when_the_run_is_whole() -> None:
    """What is wrong, what it costs, where the limit is, and each case with its verdict."""
    page = Page(written(write_html, whole()))
    assert "1 error, 1 warning and 1 note" in page.text
    assert "the deadline, at 0.8 of it" in page.text
    assert "To do: bound the length of a word." in page.text
    assert "limit 4,096" in page.text
    assert page.seen.count("svg") == 4
    for word in ("Not run", "unclear", "seen once and not again", "runs with --profile standard", "CWE-1333"):
        assert word in page.text
    # Two marks of the case, and one in each of three keys.
    assert page.text.count("\u25cf") == 5


def test_page_says_so_when_the_run_was_cut_off() -> None:
    """A run without an end is no clean run."""
    assert "The run was cut off" in written(write_html, cut_off())
    assert "The run was cut off" not in written(write_html, whole())


def test_page_keeps_what_the_target_said_as_text_when_it_is_markup() -> None:
    """Markup in an answer, or in a model's name, is shown and not interpreted."""
    text = written(write_html, whole())
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_plots_stay_inside_their_frame_when_drawn() -> None:
    """No coordinate lies outside of the view box, and none is not a number."""
    text = written(write_html, whole())
    for name, most in (("x", WIDTH), ("y", HEIGHT)):
        found = [float(value) for value in re.findall(rf'\b{name}[12]?="([^"]+)"', text)]
        assert found
        assert all(0 <= value <= most for value in found)
    for pair in re.findall(r'points="([^"]+)"', text):
        assert all(
            0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT for x, y in (item.split(",") for item in pair.split())
        )


@pytest.mark.parametrize("make", RUNS)
def test_sarif_is_valid_by_the_official_schema_when_written(make: Callable[[], Result]) -> None:
    """OASIS SARIF 2.1.0 (rtm.5), from the schema that Microsoft publishes."""
    validator().validate(json.loads(written(write_sarif, make())))


def test_the_schema_refuses_a_log_when_it_is_wrong() -> None:
    """The check above can fail."""
    log = sarif(whole())
    log["runs"][0]["results"][0]["level"] = "catastrophe"
    assert not validator().is_valid(log)


def test_sarif_has_a_rule_and_a_stable_fingerprint_for_each_result_when_written() -> None:
    """Results point at their rules, and the same finding is the same alert in the next run."""
    run, again = sarif(whole())["runs"][0], sarif(whole())["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["J07", "P19", "T03", "fuzz", "sweep:text_bytes"]
    assert [rules[result["ruleIndex"]]["id"] for result in run["results"]] == ["T03", "T03", "fuzz"]
    prints = [result["partialFingerprints"]["caseOracleRoute/v1"] for result in run["results"]]
    assert len(set(prints)) == 3
    assert prints == [result["partialFingerprints"]["caseOracleRoute/v1"] for result in again["results"]]
    assert {"external/cwe/cwe-407", "API4:2023"} <= set(rules[2]["properties"]["tags"])
    assert run["invocations"][0]["executionSuccessful"] is True
    assert sarif(cut_off())["runs"][0]["invocations"][0]["executionSuccessful"] is False


def test_junit_counts_what_it_holds_when_written() -> None:
    """A test for each case: findings are failures; what was not run or not clear is skipped."""
    suite = ElementTree.fromstring(written(write_junit, whole()))  # noqa: S314 -- our own
    assert suite.get("tests") == "6"
    assert suite.get("failures") == "2"
    assert suite.get("skipped") == "2"
    failed = [str(test.get("name")).split()[0] for test in suite.iter("testcase") if test.find("failure") is not None]
    assert failed == ["T03", "fuzz"]
    failure = suite.find(".//failure")
    assert failure is not None
    assert failure.get("type") == Severity.ERROR
    assert "to do: bound the length of a word" in str(failure.text)


@pytest.mark.parametrize("make", RUNS)
def test_junit_is_well_formed_when_the_target_says_what_xml_cannot_hold(make: Callable[[], Result]) -> None:
    """Control characters and non-characters are replaced, markup is escaped."""
    assert "\x00" in HOSTILE
    suite = ElementTree.fromstring(written(write_junit, make()))  # noqa: S314 -- our own
    assert suite.tag == "testsuite"
