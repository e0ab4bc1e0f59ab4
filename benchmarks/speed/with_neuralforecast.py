"""neuralforecast's side of the speed comparison. Runs in the peers' environment."""

import functools
import logging
import warnings

import neuralforecast
import pandas as pd
import torch
from answering import answer, endless, timed_batches
from neuralforecast.losses.pytorch import MQLoss
from neuralforecast.models import GRU, LSTM, RNN
from neuralforecast.tsdataset import TimeSeriesDataModule, TimeSeriesDataset
from step_clock import QUIET, StepClock


@functools.cache
def dataset_of(path):
    return TimeSeriesDataset.from_df(pd.read_parquet(path)[["unique_id", "ds", "y"]])[0]


def stepwise(s, **trainer):
    """One layer type, width, context and batch of windows as ours; the same quantiles."""
    return {"gru": GRU, "lstm": LSTM, "rnn": RNN}[s["cell"]](
        h=s["horizon"], input_size=s["context"], encoder_n_layers=s["layers"], encoder_hidden_size=s["width"],
        decoder_hidden_size=s["width"], loss=MQLoss(quantiles=s["quantiles"]), windows_batch_size=s["batch"],
        scaler_type="standard", max_steps=s["warm_up"] + s["steps"], **QUIET, **trainer,
    )  # fmt: skip


def default(s, **trainer):
    """As the library makes it, for the context that ours has."""
    return GRU(
        h=s["horizon"], input_size=s["context"], max_steps=s["warm_up"] + s["steps"], **QUIET, **trainer
    )  # fmt: skip


def drawing(s):
    """What its `training_step` does before the network: loader, all windows of 32 series, a draw of them, parsing."""
    model = stepwise({**s, "steps": 1})
    loader = TimeSeriesDataModule(dataset_of(s["data"]), batch_size=model.batch_size).train_dataloader()
    seconds = timed_batches((draw(model, batch) for batch in endless(loader)), s["batches"], s["warm_up"])
    return {"windows": s["batches"] * s["batch"], "seconds": seconds}


def draw(model, batch):
    windows, static, static_cols, usable, _, columns = model._create_windows(batch, step="train")
    chosen = torch.randperm(len(usable))[: model.windows_batch_size]
    return model._parse_windows(batch, model._sample_windows(windows, static, static_cols, columns, chosen, usable))


def fitting(s):
    clock = StepClock(s["warm_up"])
    model = {"stepwise": stepwise, "default": default}[s["plan"]](s, callbacks=[clock])
    model.fit(dataset_of(s["data"]))
    return clock.result(model.windows_batch_size)


def about(_):
    return {"neuralforecast": neuralforecast.__version__, "torch": torch.__version__}


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    answer({"about": about, "drawing": drawing, "fitting": fitting})
