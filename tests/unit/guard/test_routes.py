"""The routes: a closed table, with one place for a name."""

from __future__ import annotations

import pytest

from wickguard.guard.routes import ROUTES, Service, match, model_in


@pytest.mark.parametrize(
    ("path", "service", "model"),
    [
        ("/v2/models/m", Service.MODEL, "m"),
        ("/v2/models/a.b-c/ready", Service.MODEL_READY, "a.b-c"),
        ("/v2/models/m/infer", Service.INFER, "m"),
        ("/v2/models/m/versions/1/infer", Service.INFER, "m"),
        ("/v2/models/{model}/infer", Service.INFER, "{model}"),
        ("/v1/classify", Service.CLASSIFY, ""),
        ("/v2", Service.SERVER, ""),
    ],
)
def test_path_leads_to_its_service_when_it_is_in_the_table(path: str, service: Service, model: str) -> None:
    """And the name in it is found."""
    route = match(path)
    assert route is not None
    assert (route.service, model_in(path)) == (service, model)


@pytest.mark.parametrize(
    "path",
    ["/", "/v2/", "/v2/models", "/v2/models/", "/v2/models//infer", "/v2/models/m/", "/v2/models/m/infer/", "/v2/models/m/x",
     "/v2/models/m/infer/infer", "/v2/models/m/versions//infer", "/v2/models/m/versions/1/2/infer", "/v2/models/a/b/infer",
     "/V2/models/m/infer"],
)  # fmt: skip
def test_path_leads_nowhere_when_it_is_not_exactly_in_the_table(path: str) -> None:
    """No normalising, no guessing."""
    assert match(path) is None


def test_every_route_is_found_by_its_own_path_when_it_is_asked_for() -> None:
    """Metrics and events name a route by its pattern, so there are as many names as rows."""
    assert all(match(path) is route for path, route in ROUTES.items())
