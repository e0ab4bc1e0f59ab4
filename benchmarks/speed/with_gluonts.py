"""GluonTS's side of the speed comparison. Runs in the peers' environment."""

import functools
import logging
import sys
import warnings

import gluonts
import numpy as np
import pandas as pd
import torch
from answering import answer, timed_batches
from gluonts.dataset.common import ListDataset
from gluonts.itertools import Cached
from gluonts.torch import DeepAREstimator
from gluonts.transform import ExpectedNumInstanceSampler

_START = pd.Period("2000-01-01", "h")


@functools.cache
def series_of(path):
    frame = pd.read_parquet(path)
    entries = [{"start": _START, "target": y.to_numpy(np.float32)} for _, y in frame.groupby("unique_id")["y"]]
    return ListDataset(entries, freq="h")


def estimator_of(s, clock=None):
    """DeepAR: an LSTM of equal width; no lags beyond the last step, whose inputs others have not either."""
    from step_clock import QUIET

    return DeepAREstimator(
        freq="h", prediction_length=s["horizon"], context_length=s["context"] - 1, num_layers=s["layers"],
        hidden_size=s["width"], lags_seq=[1], batch_size=s["batch"],
        num_batches_per_epoch=s["warm_up"] + s.get("steps", 1),
        train_sampler=ExpectedNumInstanceSampler(num_instances=1.0, min_past=s["context"], min_future=s["horizon"]),
        # It adds a checkpoint of its own, so checkpoints cannot be turned off.
        trainer_kwargs={**QUIET, "enable_checkpointing": True, "max_epochs": 1, "callbacks": [clock] if clock else [],
                        "default_root_dir": s["folder"]},
    )  # fmt: skip


def drawing(s):
    """Its transformations, cached after the first pass as it offers, its instance splitter and its batches."""
    estimator = estimator_of({**s, "steps": s["batches"] + 1})
    data = Cached(estimator.create_transformation().apply(series_of(s["data"]), is_train=True))
    for _ in data:
        pass
    loader = estimator.create_training_data_loader(data, estimator.create_lightning_module())
    return {"windows": s["batches"] * s["batch"], "seconds": timed_batches(loader, s["batches"], s["warm_up"])}


def fitting(s):
    from step_clock import StepClock

    clock = StepClock(s["warm_up"])
    estimator_of(s, clock).train(series_of(s["data"]), cache_data=True)
    return clock.result(s["batch"])


def about(_):
    return {"gluonts": gluonts.__version__, "torch": torch.__version__}


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    answer({"about": about, "drawing": drawing, "fitting": fitting})
    sys.exit(0)
