"""M4 Hourly's test MASE: ours, and peers that train for as long as ours took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scoring.experiments import m4_ours, m4_peer
from scoring.m4 import M4Set

_PEERS = ("neuralforecast-lstm", "neuralforecast-gru", "neuralforecast-nhits")


def given_the_same_time(folder: Path, peers_python: str, preset: str = "balanced", seed: int = 1) -> dict[str, Any]:
    """Scores by model; `lower` says whether ours is below each peer's."""
    hourly = M4Set.load(folder, "Hourly")
    ours = m4_ours(hourly, preset, seed)
    peers = {p: m4_peer(hourly, p, seed, peers_python, ours["seconds"], ours["context"]) for p in _PEERS}
    lower = {name: ours["mase"] < peer["mase"] for name, peer in peers.items()}
    return {"preset": preset, "ours": ours, **peers, "lower": lower}
