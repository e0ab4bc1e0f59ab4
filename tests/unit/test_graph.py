from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forecaster.errors import ArtifactError
from forecaster.graph import Graph, export_graph, has_graph
from forecaster.network import ForecastNetwork
from forecaster.predictor import Predictor
from forecaster.windows import truncate_context
from tests.fixtures_models import make_panel, make_predictor, model_settings
from tests.unit.test_network import VARIANTS, network, windows

LONG: dict[str, Any] = {"network": {"segment": 1, "context": 90, "lags": (24,)}}  # trained by `scan`
EXPORTED = [variant for variant in (*VARIANTS, LONG) if has_graph(model_settings(**variant))]


def graph_of(net: ForecastNetwork, folder: Path) -> Graph:
    export_graph(net, folder / "graph.onnx")
    return Graph(folder / "graph.onnx")


@pytest.mark.parametrize("variant", EXPORTED)
def test_the_graph_is_the_whole_forecast_for_any_number_of_windows(variant: dict[str, Any], tmp_path: Path) -> None:
    net = network(**variant)
    net.young_steps.copy_(torch.logspace(0, 2, len(net.young_steps)))
    net.young_stretch.copy_(torch.linspace(9, 1, len(net.young_stretch)))
    graph = graph_of(net, tmp_path)
    for rows in (1, 9):
        whole = windows(rows=rows, steps=net.settings.context, seed=rows)
        context = truncate_context(whole, torch.linspace(96, 5, rows).long())
        with torch.inference_mode():
            expected = net(*context)
        scale = float(expected.max() - expected.min())
        np.testing.assert_allclose(graph(*context) / scale, expected / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", ["std", "change", "size", "robust"])
@pytest.mark.parametrize(("context", "season"), [(1, 1), (2, 2), (3, 2), (24, 24), (25, 24)])
def test_a_short_context_is_exported_for_any_number_of_windows_too(
    context: int, season: int, scale: str, tmp_path: Path
) -> None:
    shape = {"context": context, "segment": min(context, 2), "season": season, "lags": (), "highway": 1, "scale": scale}
    net = network(network=shape)
    graph = graph_of(net, tmp_path)
    for rows in (1, 2, 3, 9):
        some = windows(rows=rows, steps=context, seed=rows)
        with torch.inference_mode():
            expected = net(*some)
        size = float(expected.max() - expected.min())
        np.testing.assert_allclose(graph(*some) / size, expected / size, rtol=0, atol=1e-5)


def test_a_network_whose_loop_would_make_a_long_graph_has_none() -> None:
    long = LONG["network"]
    assert has_graph(model_settings(network=long))  # one node: its cell is fused
    assert not has_graph(model_settings(network={**long, "cell": "lstm_peephole"}))
    assert not has_graph(model_settings(network={**long, "decoder": "autoregressive", "horizon": 80}))
    assert not has_graph(model_settings(transform="asinh"))
    counts = {"head": "negative_binomial", "location": "zero", "scale": "size"}
    assert not has_graph(model_settings(network=counts))
    assert len(EXPORTED) == len(VARIANTS)  # one has none, one is the long one


def test_few_windows_are_forecast_by_the_graph_and_others_agree_with_it(tmp_path: Path) -> None:
    plain = make_predictor()
    asked: list[int] = []

    class Counted(Graph):
        def __call__(self, values: torch.Tensor, *others: torch.Tensor | None) -> torch.Tensor:
            asked.append(len(values))
            return super().__call__(values, *others)

    export_graph(plain.network, tmp_path / "graph.onnx")
    served = Predictor(plain.network, plain.info, Counted(tmp_path / "graph.onnx"))
    for series, horizon, expected in ((1, 24, [1]), (3, 10, [4]), (200, 24, []), (1, 30, [])):
        asked.clear()
        panel = make_panel(n=series, missing=0.1)
        found = served.predict(panel, horizon=horizon, levels=[95])
        assert asked == expected
        other = plain.predict(panel, horizon=horizon, levels=[95])
        np.testing.assert_allclose(found.median, other.median, rtol=1e-5)
        np.testing.assert_allclose(found.interval(95), other.interval(95), rtol=1e-5)


@pytest.mark.parametrize("content", [b"", b"torn"])
def test_a_file_that_is_no_graph_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"graph\.onnx"):
        Graph(tmp_path / "graph.onnx")
