"""One peer's forecast, as its defaults make it, trained for a given time. Runs in the environment of that peer.

    python peer_forecast.py '{"model": "neuralforecast-gru", "data": "train.parquet", "freq": "h", "horizon": 48,
                              "season": 24, "context": 336, "seconds": 60, "seed": 1, "out": "forecast.parquet"}'

Prints `{"seconds": ..., "steps": ..., "version": ...}`. Integer `ds` only, as M4 has it.
"""

import json
import logging
import os
import sys
import time
import warnings

import pandas as pd

_DECILES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
_PERIODS = {"YS": "Y", "QS": "Q", "MS": "M", "W": "W", "D": "D", "h": "h"}
_ENDLESS = 10**7  # steps: time ends the training
_SEASONAL = ("AutoETS", "DynamicOptimizedTheta", "SeasonalNaive")  # these have a season, and intervals of their own
_ORIGINS = 4  # from which the others' intervals are learnt


def by_neuralforecast(name, s, frame):
    import neuralforecast
    from neuralforecast import NeuralForecast, models

    from_start = frame.groupby("unique_id").size().min() < s["context"] + s["horizon"]
    model = getattr(models, name)(
        h=s["horizon"], input_size=s["context"], max_steps=_ENDLESS, random_seed=s["seed"],
        start_padding_enabled=bool(from_start), max_time={"seconds": s["seconds"]}, accelerator="cpu", devices=1,
        logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    forecaster = NeuralForecast(models=[model], freq=1)
    began = time.perf_counter()
    forecaster.fit(frame)
    seconds = time.perf_counter() - began
    out = forecaster.predict().reset_index().rename(columns={name: "median"})
    steps = len(forecaster.models[0].train_trajectories)
    return out[["unique_id", "ds", "median"]], {
        "seconds": seconds, "steps": steps, "version": neuralforecast.__version__
    }  # fmt: skip


def by_gluonts(name, s, frame):
    import gluonts
    import lightning.pytorch as pl
    import numpy as np
    from gluonts.dataset.common import ListDataset
    from gluonts.torch import DeepAREstimator

    pl.seed_everything(s["seed"])
    freq = _PERIODS[s["freq"]]
    start = pd.Period("1900-01-01", freq)
    groups = [(unique_id, y.to_numpy(np.float32)) for unique_id, y in frame.groupby("unique_id")["y"]]
    series = ListDataset([{"start": start, "target": y, "item_id": unique_id} for unique_id, y in groups], freq=freq)
    trainer = {
        "max_epochs": _ENDLESS, "max_time": {"seconds": s["seconds"]}, "accelerator": "cpu", "devices": 1,
        "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
        "default_root_dir": os.path.dirname(s["out"]),
    }  # fmt: skip
    assert name == "DeepAR"
    estimator = DeepAREstimator(
        freq=freq, prediction_length=s["horizon"], context_length=s["context"], trainer_kwargs=trainer
    )
    began = time.perf_counter()
    trained = estimator.train_model(series, cache_data=True)
    seconds = time.perf_counter() - began
    parts = [
        _rows(forecast.item_id, len(y), forecast.quantile)
        for (_, y), forecast in zip(groups, trained.predictor.predict(series), strict=True)
    ]
    return pd.concat(parts), {
        "seconds": seconds, "steps": trained.trainer.global_step, "version": gluonts.__version__
    }  # fmt: skip


def _rows(unique_id, length, quantile):
    columns = {f"q{level:g}": quantile(level) for level in _DECILES}
    steps = range(length + 1, length + 1 + len(columns["q0.5"]))
    return pd.DataFrame(
        {"unique_id": unique_id, "ds": steps, "median": columns["q0.5"], "lo-95": quantile(0.025),
         "hi-95": quantile(0.975), **columns}
    )  # fmt: skip


def by_statsforecast(name, s, frame):
    import statsforecast
    from statsforecast import StatsForecast, models
    from statsforecast.utils import ConformalIntervals

    own = {"season_length": s["season"]} if name in _SEASONAL else {}
    conformal = {} if name in _SEASONAL else {"prediction_intervals": ConformalIntervals(_ORIGINS, s["horizon"])}
    forecaster = StatsForecast(models=[getattr(models, name)(**own)], freq=1, n_jobs=1)
    began = time.perf_counter()
    out = forecaster.forecast(df=frame, h=s["horizon"], level=[20, 40, 60, 80, 95], **conformal)
    seconds = time.perf_counter() - began
    found = out[["unique_id", "ds"]].assign(median=out[name], **{"q0.5": out[name]})
    for level in (20, 40, 60, 80):
        found[f"q{0.5 - level / 200:g}"] = out[f"{name}-lo-{level}"]
        found[f"q{0.5 + level / 200:g}"] = out[f"{name}-hi-{level}"]
    found["lo-95"], found["hi-95"] = out[f"{name}-lo-95"], out[f"{name}-hi-95"]
    return found, {"seconds": seconds, "version": statsforecast.__version__}


_MODELS = {
    "neuralforecast-lstm": (by_neuralforecast, "LSTM"),
    "neuralforecast-gru": (by_neuralforecast, "GRU"),
    "neuralforecast-nhits": (by_neuralforecast, "NHITS"),
    "gluonts-deepar": (by_gluonts, "DeepAR"),
    "statsforecast-autoets": (by_statsforecast, "AutoETS"),
    "statsforecast-theta": (by_statsforecast, "DynamicOptimizedTheta"),  # the best of its five by M4 Quarterly
    "statsforecast-seasonal-naive": (by_statsforecast, "SeasonalNaive"),
    "statsforecast-croston": (by_statsforecast, "CrostonOptimized"),
    "statsforecast-croston-sba": (by_statsforecast, "CrostonSBA"),
    "statsforecast-adida": (by_statsforecast, "ADIDA"),
}


def main(settings):
    # Libraries print: their standard output becomes our standard error.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    frame = pd.read_parquet(settings["data"])[["unique_id", "ds", "y"]].sort_values(["unique_id", "ds"])
    method, name = _MODELS[settings["model"]]
    forecast, told = method(name, settings, frame)
    forecast.to_parquet(settings["out"], index=False)
    answer.write(json.dumps(told) + "\n")
    answer.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
