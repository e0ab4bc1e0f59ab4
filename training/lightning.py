"""Lightning, loaded without what it would load for nothing.

torchmetrics, which Lightning brings, loads scipy.signal only to add an alias to it that nothing here uses: 55 MB, and
a second of the start of every process that fits. An empty module stands in for it meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def _stand_in(name: str, **attributes: object) -> Iterator[None]:
    """A module of these attributes alone in the place of `name`, unless that is loaded already."""
    if name in sys.modules:
        yield
        return
    module = sys.modules[name] = ModuleType(name)
    vars(module).update(attributes)
    try:
        yield
    finally:
        del sys.modules[name]


with _stand_in("scipy.signal", hamming=None):
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import Callback, ModelCheckpoint, WeightAveraging

__all__ = ["Callback", "ModelCheckpoint", "WeightAveraging", "pl"]
