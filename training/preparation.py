"""From settings and data to a network that is ready to be fitted, and the loss that it is fitted by."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from forecaster import metrics
from forecaster.baselines import seasonal_naive
from forecaster.covariate_windows import CovariateWindows
from forecaster.errors import InputError
from forecaster.network import ForecastNetwork
from forecaster.normalisation import spread, unit_size
from forecaster.panel import Panel
from forecaster.segment_network import SegmentNetwork
from forecaster.transforms import relative, transform
from training.loss import Objective, QuantileLoss
from training.sampling import TrainingWindows
from training.settings import TrainingSettings

_SAMPLE = 2048  # windows from which typical scales and the reference errors are read


def build_network(
    settings: TrainingSettings, windows: TrainingWindows, weights: Mapping[str, Tensor] | None = None
) -> ForecastNetwork:
    """A network on the windows' device: fresh and seeded, or begun with `weights` of an earlier model."""
    with torch.random.fork_rng():
        torch.manual_seed(settings.fit.seed)
        network = ForecastNetwork(settings.model)
    if weights is not None:
        try:
            network.load_state_dict(dict(weights))
        except RuntimeError as error:
            raise InputError(
                "the model to start from has another architecture", field="warm_start", mend="use the same settings"
            ) from error
        network.calibration.fill_(1.0)
        network.young_stretch.fill_(1.0)
        network.dependence.copy_(torch.eye(len(network.dependence)))
    network.to(windows.flat.device)
    if weights is None:
        _measure_typical_scales(network, windows, settings.fit.seed)
    return network


def member_weights(weights: Mapping[str, Tensor] | None, number: int) -> dict[str, Tensor] | None:
    """Of an ensemble's weights those of one member, as a network of that member alone has them."""
    if weights is None:
        return None
    own = f"members.{number}."
    alone = {f"members.0.{name[len(own) :]}": tensor for name, tensor in weights.items() if name.startswith(own)}
    shared = {name: tensor for name, tensor in weights.items() if not name.startswith("members.")}
    return {**alone, **shared}


def build_objective(settings: TrainingSettings, windows: TrainingWindows) -> Objective:
    """What a member is fitted by; its errors count in units of the seasonal naive method's own on these windows."""
    with torch.random.fork_rng():
        torch.manual_seed(settings.fit.seed)
        loss = _quantile_loss(settings, windows) if settings.fit.loss == "quantile" else None
        return Objective(settings.model.members[0], loss, settings.fit.auxiliary_weight).to(windows.flat.device)


def _quantile_loss(settings: TrainingSettings, windows: TrainingWindows) -> QuantileLoss:
    smape, mase = _reference_errors(settings, windows)
    quantiles = settings.model.quantiles
    return QuantileLoss(
        torch.tensor(quantiles, device=windows.flat.device),
        quantiles.index(0.5),
        smape,
        mase,
        settings.fit.percentage_weight,
        settings.fit.quantile_weight,
    )


def _measure_typical_scales(network: ForecastNetwork, windows: TrainingWindows, seed: int) -> None:
    """Tell each member the panel's typical scale, for series too short to have one of their own."""
    generator = torch.Generator(windows.flat.device).manual_seed(seed)
    model = network.settings
    context = windows.draw(_SAMPLE, model.context, model.horizon, 0.0, 1, generator).context
    transformed, unit = transform(model.transform, context.values, context.observed)
    sized = relative(model.transform, unit)
    long = context.observed.sum(1) > min(model.season, model.context // 2)
    for member in network.members:
        assert isinstance(member, SegmentNetwork)
        values, observed, own, _ = member.seen(transformed, context.observed, sized)
        scale = spread(values, observed, member.settings.scale, member.typical_scale, own, member.settings.season)
        ratios = (scale / unit_size(values, observed, own))[long]
        if len(ratios):
            member.typical_scale.copy_(ratios.median())


def _reference_errors(settings: TrainingSettings, windows: TrainingWindows) -> tuple[float, float]:
    """sMAPE and MASE of the seasonal naive method on windows drawn from the training part."""
    generator = torch.Generator(windows.flat.device).manual_seed(settings.fit.seed)
    model = settings.model
    series, origin = windows.draw_origins(_SAMPLE, generator)
    batch = windows.gather(series, origin, 1, model.horizon)
    forecast = seasonal_naive(
        windows.flat.cpu().numpy(),
        windows.begin[series].cpu().numpy(),
        origin.cpu().numpy(),
        model.horizon,
        model.season,
    )
    truth = torch.where(batch.target.observed, batch.target.values, torch.nan).cpu().numpy()
    smape = metrics.mean(metrics.smape(truth, forecast))
    mase = metrics.mean(metrics.mase(truth, forecast, batch.error_scale.cpu().numpy()))
    return (smape if smape > 0 else 1.0), (mase if mase > 0 else 1.0)


def training_windows(panel: Panel, settings: TrainingSettings, held_out: int, device: torch.device) -> TrainingWindows:
    """All windows of the panel before the last `held_out` steps."""
    season = settings.model.season
    scale = metrics.seasonal_errors(panel, season, held_out)
    if not np.isfinite(scale).any():
        raise InputError("no series has two observed values to learn from", mend="give longer series")
    return TrainingWindows.of(
        panel,
        scale,
        horizon=settings.model.horizon,
        held_out=held_out,
        season=season,
        device=device,
        shortest_target=settings.fit.shortest_target,
        recency=settings.fit.recency,
        weight=_series_weights(panel, settings),
        covariates=CovariateWindows.of(panel, settings.model.covariates, settings.model.horizon, device),
    )


def _series_weights(panel: Panel, settings: TrainingSettings) -> np.ndarray | None:
    """[N] weight of each series' losses, one on average; None where all count alike."""
    weights = settings.fit.target_weights
    if panel.targets is None or len(set(weights.values())) < 2:
        return None
    mean = sum(weights.values()) / len(weights)
    return np.array([weights[target] / mean for target in panel.targets], np.float32)
