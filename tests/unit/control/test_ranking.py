"""The ranking against a plain dictionary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wickguard.control.ranking import Ranking

STEPS = st.lists(
    st.tuples(st.integers(0, 7), st.one_of(st.none(), st.integers(0, 4)), st.sets(st.integers(0, 7))), max_size=120
)


@given(STEPS)
def test_the_first_that_is_accepted_is_the_least_whatever_came_and_went(
    steps: list[tuple[int, int | None, set[int]]],
) -> None:
    """Equals in the order of their numbers; whoever is passed over stays; memory is bounded by what is ranked."""
    ranking, plain = Ranking(), dict[int, int]()
    for number, rank, refused in steps:
        if rank is None:
            ranking.discard(str(number))
            plain.pop(number, None)
        else:
            ranking.put(str(number), number, float(rank))
            plain[number] = rank
        assert (len(ranking), set(ranking)) == (len(plain), {str(one) for one in plain})
        able = [(rank, one) for one, rank in plain.items() if one not in refused]
        found = ranking.first(lambda name, refused=refused: None if int(name) in refused else name)
        assert found == (str(min(able)[1]) if able else None)
        assert len(ranking._entries) <= 2 * len(plain) + 17


def test_nobody_else_is_asked_when_the_first_is_accepted() -> None:
    """A decision costs the same whoever else waits."""
    ranking, asked = Ranking(), list[str]()
    for number in range(1000):
        ranking.put(str(number), number, 1.0 + number)
    ranking.put("999", 999, 0.5)

    def accept(name: str) -> str:
        asked.append(name)
        return name

    assert ranking.first(accept) == "999"
    assert asked == ["999"]


def test_nothing_is_kept_of_those_who_have_come_and_gone() -> None:
    """Under one name and rank again and again, as another one each time."""
    ranking = Ranking()
    for number in range(1000):
        ranking.put("crowd", number, 0.0)
        assert ranking.first(lambda name: name) == "crowd"
        ranking.discard("crowd")
        assert len(ranking._entries) <= 17
