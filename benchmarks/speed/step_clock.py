"""A Lightning callback that clocks training steps, for the peers that train by Lightning."""

import time

from pytorch_lightning.callbacks import Callback


class StepClock(Callback):
    """Seconds from the end of step `warm_up` to the end of the last."""

    def __init__(self, warm_up):
        self.warm_up, self.steps, self.began, self.ended = warm_up, 0, 0.0, 0.0

    def on_train_batch_end(self, *_):
        self.steps += 1
        self.ended = time.perf_counter()
        if self.steps == self.warm_up:
            self.began = self.ended

    def result(self, batch):
        """Windows that were trained on after the first steps, and the seconds that they took."""
        return {"windows": (self.steps - self.warm_up) * batch, "seconds": self.ended - self.began}


QUIET = {
    "accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
    "enable_checkpointing": False,
}  # fmt: skip
