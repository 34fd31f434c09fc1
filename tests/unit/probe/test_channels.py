"""Channels: what is believed of what a target says about itself, and what is not."""

from __future__ import annotations

import pytest

from wickguard.probe.channels import Counters, of_one_process, parse_metrics, told
from wickguard.probe.wire import Answer


@pytest.mark.parametrize(
    "timing",
    [
        "cpu;dur=1.2.3",
        "cpu;dur=.",
        "cpu;dur=",
        "cpu",
        "cpu;dur=1e999",
        "cpu;dur=-1",
        "cpu;dur=nan",
        "mycpu;dur=1",
        ";;,=;",
    ],
)
def test_cost_is_unknown_when_what_the_answer_says_is_no_number(timing: str) -> None:
    """A server that writes nonsense is measured by other channels."""
    assert told(Answer(status=200, headers={"server-timing": timing})).cpu_s is None


@pytest.mark.parametrize("digits", ["9" * 5000, "9" * 20, "1_000", "", "-5"])
def test_memory_is_unknown_when_no_machine_has_so_much(digits: str) -> None:
    """Python refuses to convert 5,000 digits, and reports to hold more than 64 bits."""
    headers = {"server-timing": f'run;dur=1, mem;desc="{digits}"'}
    assert told(Answer(status=200, headers=headers)).memory_bytes is None


@pytest.mark.parametrize("value", ["+Inf", "-Inf", "NaN", "+", "-", "e", "1e", "-3", "1e300"])
def test_counters_leave_out_what_is_no_number_when_a_page_has_some(value: str) -> None:
    """The other series of the same name still count."""
    page = f'process_cpu_seconds_total{{worker="a"}} {value}\nprocess_cpu_seconds_total{{worker="b}}"}} 2 1700000000\n'
    assert parse_metrics(page).cpu_s == 2.0
    assert parse_metrics(f"process_resident_memory_bytes {value}").memory_bytes is None


def test_counters_are_of_one_process_when_its_beginning_stays_and_its_time_goes_on() -> None:
    """Where a page has no beginning, the time alone must do; where it has neither, memory is still something."""
    assert of_one_process([Counters(1.0, 5, 100.0), Counters(1.0, 4, 100.0), Counters(1.2, 9, 100.0)])
    assert of_one_process([Counters(1.0, None, None), Counters(1.5, None, None)])
    assert of_one_process([Counters(None, 5, None)])


@pytest.mark.parametrize(
    "pages",
    [
        [Counters(1.0, 5, 100.0), Counters(1.0, 5, 100.1)],
        [Counters(1.0, 5, 100.0), Counters(1.0, 5, None)],
        [Counters(1.0, 5, None), Counters(0.9, 5, None)],
        [Counters(1.0, 5, None), Counters(None, 5, None)],
        [Counters(None, None, None)],
    ],
    ids=["another beginning", "no beginning", "less time", "no time", "nothing"],
)
def test_counters_are_of_several_when_they_contradict_each_other(pages: list[Counters]) -> None:
    """Or when they are of nothing."""
    assert not of_one_process(pages)
