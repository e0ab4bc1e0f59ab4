"""Darts' side of the speed comparison. Runs in the peers' environment."""

import functools
import logging
import warnings

import darts
import numpy as np
import pandas as pd
import torch
from answering import answer, endless, timed_batches
from darts import TimeSeries
from darts.models import BlockRNNModel
from darts.utils.data.torch_datasets.training_dataset import SequentialTorchTrainingDataset
from darts.utils.likelihood_models.torch import QuantileRegression
from step_clock import QUIET, StepClock
from torch.utils.data import DataLoader


@functools.cache
def series_of(path):
    frame = pd.read_parquet(path)
    return [TimeSeries.from_values(y.to_numpy(np.float32)) for _, y in frame.groupby("unique_id")["y"]]


def model_of(s, clock=None):
    """A block recurrent model: encoder over the context, all steps of the horizon from its last state."""
    return BlockRNNModel(
        input_chunk_length=s["context"], output_chunk_length=s["horizon"], model=s["cell"].upper(),
        hidden_dim=s["width"], n_rnn_layers=s["layers"], likelihood=QuantileRegression(s["quantiles"]),
        batch_size=s["batch"], n_epochs=1,
        pl_trainer_kwargs={**QUIET, "callbacks": [clock] if clock else []},
    )  # fmt: skip


def dataset(s):
    return SequentialTorchTrainingDataset(
        series_of(s["data"]), input_chunk_length=s["context"], output_chunk_length=s["horizon"],
        use_static_covariates=False,
    )  # fmt: skip


def drawing(s):
    """Its data set and the loader that its models make of it."""
    collate = model_of(s)._batch_collate_fn
    loader = DataLoader(dataset(s), batch_size=s["batch"], shuffle=True, collate_fn=collate)
    return {
        "windows": s["batches"] * s["batch"],
        "seconds": timed_batches(endless(loader), s["batches"], s["warm_up"]),
    }


def fitting(s):
    clock = StepClock(s["warm_up"])
    model = model_of(s, clock)
    model.trainer_params["max_steps"] = s["warm_up"] + s["steps"]
    model.fit_from_dataset(dataset(s))
    return clock.result(s["batch"])


def about(_):
    return {"darts": darts.__version__, "torch": torch.__version__}


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    answer({"about": about, "drawing": drawing, "fitting": fitting})
