"""What a model is asked before it is served."""

from __future__ import annotations

from forecaster.settings import CovariateSettings
from service.engines import warm_up
from tests.fixtures_models import make_predictor


def test_a_model_of_one_step_and_a_known_future_is_warmed_up() -> None:
    """Of the numbers that are made up every seventh is missing: with such a context, the only one of the horizon."""
    known = CovariateSettings(future=("price",), scales={"price": (5.0, 2.0)})
    warm_up(make_predictor(covariates=known, network={"horizon": 1, "context": 112}))
