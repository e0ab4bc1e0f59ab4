"""Settings of a training run: what is fitted for how long, how it is evaluated, and when it goes live."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from forecaster.settings import ModelSettings, Settings

Preset = Literal["fast", "balanced", "best"]
Promotion = Literal["if-better", "always", "never"]


class FitSettings(Settings):
    """How a network is fitted."""

    steps: int = Field(default=800, ge=1)
    """Optimiser steps: a fixed budget, so that the learning rate's one cycle always completes."""

    batch: int = Field(default=256, ge=1)
    """Windows per step."""

    learning_rate: float = Field(default=4e-3, gt=0)
    """Peak of the one-cycle schedule (AdamW)."""

    weight_decay: float = Field(default=1e-2, ge=0)
    """AdamW's decoupled weight decay."""

    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""

    average_decay: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the exponential moving average of the weights; the average is what is kept."""

    quantile_weight: float = Field(default=0.3, ge=0)
    """Weight of the pinball loss beside the point loss."""

    percentage_weight: float = Field(default=0.5, ge=0, le=1)
    """Share of sMAPE in the point loss; 0 for data with zeros or negative values, where sMAPE is meaningless."""

    truncate: float = Field(default=0.0, ge=0, le=1)
    """Share of windows whose context is cut to a random length, so that young series are learnt too."""

    seed: int = 1
    """Seed of weights, windows and truncation."""

    processes: int | None = Field(default=None, ge=1)
    """Processes that fit members at once, with one thread each; None: as many as there are cores."""


class BacktestSettings(Settings):
    """The rolling-origin evaluation on steps held out of the first fit."""

    windows: int = Field(default=2, ge=1)
    """Origins per series."""

    step: int = Field(default=1, ge=1)
    """Steps between origins."""

    baseline_series: int = Field(default=200, ge=1)
    """Series (drawn at random) on which the statistical baseline is fitted, since it takes a model per series."""


class TrainingSettings(Settings):
    """Everything that a training run depends on beside its data."""

    preset: Preset = "balanced"
    model: ModelSettings
    fit: FitSettings = FitSettings()
    backtest: BacktestSettings = BacktestSettings()
