"""The scalar price: whichever resource is taken more of."""

from __future__ import annotations

import pytest

from wickguard.control.applicant import scalar_price
from wickguard.records import Cost


@pytest.mark.parametrize(
    ("cost", "price"),
    [
        (Cost(2.0, 1.0, 0), 2.0),
        (Cost(0.1, 1.0, 100), 0.4),
        (Cost(0.1, 10.0, 500), 20.0),
        (Cost(0.4, 1.0, 100), 0.4),
        (Cost(0.0, 0.0, 1000), 0.0),
    ],
)
def test_price_is_of_the_dominant_resource_when_a_call_takes_several(cost: Cost, price: float) -> None:
    """Half of the memory for ten seconds keeps two of four cores idle for as long."""
    assert scalar_price(cost, cores=4.0, memory_bytes=1000) == pytest.approx(price)
