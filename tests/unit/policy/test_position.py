"""Positions: the line of every key, however it is written."""

from __future__ import annotations

import random

import pytest

from wickguard.policy.position import line_of

TEXT = """# [edge]
# max_headers = 1

[ edge ]
"max_headers" = 5  # rate = 6
long = [
  1,
  # max_body_bytes = 2

  3,
]
text = '''
[tenants.a]
rate = 1
'''
last = 1

[tenants."a.b"]
rate = 1
limits = { rate = 2 }
[tenants]
c.rate = 3
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (["edge"], 4),
        (["edge", "max_headers"], 5),
        (["edge", "long"], 6),
        (["edge", "text"], 12),
        (["edge", "last"], 16),
        (["tenants"], 18),
        (["tenants", "a.b", "rate"], 19),
        (["tenants", "a.b", "limits", "rate"], 20),
        (["tenants", "c", "rate"], 22),
        (["tenants", "a"], None),
        (["edge", "max_body_bytes"], None),
        (["edge", "last", "deeper"], None),
    ],
)
def test_line_of_a_key_is_found_when_it_is_written_in_any_form(path: list[str], line: int | None) -> None:
    """Comments, strings and other tables that look alike do not count."""
    assert line_of(TEXT, path) == line
    assert line_of(TEXT.replace("\n", "\r\n"), path) == line


def test_every_key_is_found_when_values_span_any_number_of_lines() -> None:
    """Wherever the bisection falls."""
    chosen = random.Random(7)
    for _ in range(200):
        lines: list[str] = []
        at: dict[str, int] = {}
        for number in range(chosen.randrange(1, 12)):
            lines += [""] * chosen.randrange(3)
            at[f"k{number}"] = len(lines) + 1
            extra = chosen.choice([0, 0, 1, 2, 9])
            lines += [f"k{number} = 1"] if not extra else [f"k{number} = [", *["1,"] * extra, "]"]
        found = {key: line_of("\n".join(lines), [key]) for key in at}
        assert found == at
