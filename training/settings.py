"""Settings of a training run: what is fitted for how long, how it is evaluated, and when it goes live."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from forecaster.settings import ModelSettings, Settings

Preset = Literal["fast", "balanced", "best"]
Promotion = Literal["if-better", "always", "never"]
Optimiser = Literal["adamw", "adam", "rmsprop", "sgd"]
Schedule = Literal["one_cycle", "cosine", "constant"]
Loss = Literal["quantile", "likelihood"]
Precision = Literal["auto", "bf16", "float32"]


class FitSettings(Settings):
    """How a network is fitted."""

    steps: int = Field(default=800, ge=1)
    """Optimiser steps: a fixed budget, so that the learning rate's one cycle always completes."""

    shorter: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    """Shares of these steps for shorter fits beside the full one: of all neighbouring lengths the two are kept whose
    mean forecasts the held-out end best. Of more than two members every second one is fitted for the same length."""

    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()
    """Share of these steps that each member is fitted for; all of them if empty. Members of one share differ by their
    seeds."""

    linear_start: bool = False
    """Whether the linear shortcut of a fresh network is first fitted alone (least absolute errors), rather than left as
    the seasonal naive forecast that it begins as."""

    correction: float = Field(default=1.0, ge=0, le=1)
    """Share that is kept, once fitted, of what the fit has added to the linear forecast that it began from, but for the
    linear effects of covariates (with an autoregressive decoder, which goes on from its own medians, about that
    share)."""

    corrections: tuple[Annotated[float, Field(ge=0, le=1)], ...] = ()
    """Such shares to choose from, instead: the one is kept whose forecasts of the held-out end are best, the first if
    none is better."""

    batch: int = Field(default=256, ge=1)
    """Windows per step."""

    optimiser: Optimiser = "adamw"
    """torch's optimiser of that name."""

    learning_rate: float = Field(default=4e-3, gt=0)
    """Peak of the schedule."""

    schedule: Schedule = "one_cycle"
    """Learning rate over the steps: up over a fifth and down (`one_cycle`), only down (`cosine`), or `constant`."""

    weight_decay: float = Field(default=1e-2, ge=0)
    """Weight decay: decoupled in AdamW; the others add it to the gradient, and want far less."""

    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""

    average_decay: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the exponential moving average of the weights, which is what is kept; at most 1 − 10 / steps counts."""

    loss: Loss = "quantile"
    """Point and pinball loss in data units (`quantile`), or minus the log-likelihood of the head's distribution in the
    window's normalised units (`likelihood`; the only one for counts, and none for the quantile head)."""

    quantile_weight: float = Field(default=0.3, ge=0)
    """Weight of the pinball loss beside the point loss."""

    auxiliary_weight: float = Field(default=0.0, ge=0)
    """Weight of a second task: from each encoder state, reconstruct the next segment of the context."""

    target_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default={})
    """Weight of each target's loss, where several are forecast; only their proportions matter."""

    percentage_weight: float = Field(default=0.5, ge=0, le=1)
    """Share of sMAPE in the point loss; 0 for data with zeros or negative values, where sMAPE is meaningless."""

    shortest_target: int = Field(default=1, ge=1)
    """Fewest steps of the horizon that a training window's series still has: 1 learns from the very latest values,
    which pays where levels drift; at most the horizon counts."""

    recency: float = Field(default=0.0, ge=0)
    """How much likelier a series' late windows are drawn than its early ones: the density of origins grows with this
    power of their place; 0 draws all alike, 1 the last twice as often as the middle."""

    truncate: float = Field(default=0.0, ge=0, le=1)
    """Share of windows whose context is cut to a random length, so that young series are learnt too."""

    seed: int = Field(default=1, ge=0, lt=2**32)
    """Seed of weights, windows and truncation."""

    precision: Precision = "auto"
    """Of matrix products on a GPU: `bf16` or `float32`; `auto` is bf16 where the GPU has it. Processors compute in
    float32."""

    processes: int | None = Field(default=None, ge=1)
    """Processes that fit networks at once, with one thread each; None: as many as there are cores, but one for a large
    panel or short fits."""

    def steps_of(self, share: float) -> int:
        """Steps of a fit of such a share."""
        return max(1, round(self.steps * share))


class BacktestSettings(Settings):
    """The rolling-origin evaluation on steps held out of the first fit."""

    windows: int = Field(default=2, ge=1)
    """Origins per series."""

    step: int = Field(default=1, ge=1)
    """Steps between origins."""

    baseline_series: int = Field(default=200, ge=0)
    """Windows (drawn at random) on which the statistical baseline is fitted, since it takes a model for each; 0 leaves
    it out, which saves some seconds."""


class TrainingSettings(Settings):
    """Everything that a training run depends on beside its data."""

    preset: Preset = "balanced"
    model: ModelSettings
    fit: FitSettings = FitSettings()
    backtest: BacktestSettings = BacktestSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> TrainingSettings:
        shares, members = len(self.fit.shares), len(self.model.members)
        if shares and self.fit.shorter:
            raise ValueError("fit.shares says how long each member is fitted: fit.shorter has nothing to try")
        if self.fit.corrections and self.fit.correction < 1:
            raise ValueError("fit.correction says which share is kept: fit.corrections has nothing to choose")
        if shares and shares != members:
            raise ValueError(f"fit.shares needs a share for each of the {members} members, and has {shares}")
        for member in self.model.members:
            if member.head == "quantile" and self.fit.loss == "likelihood":
                raise ValueError("loss likelihood needs a parametric head: the quantile head has no density")
            if member.head == "negative_binomial" and (self.fit.corrections or self.fit.correction < 1):
                raise ValueError("head negative_binomial has no linear forecast of which fit.correction were a share")
            if member.head == "negative_binomial" and self.fit.loss == "quantile":
                raise ValueError("head negative_binomial needs loss likelihood: quantiles of counts have no gradient")
            if self.fit.auxiliary_weight and member.input_segments < 2:
                raise ValueError(
                    f"auxiliary_weight needs a next segment to reconstruct: segment {member.segment} is all of context "
                    f"{member.context}"
                )
        return self
