import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from forecaster.artifact import load_artifact, load_held_out, save_artifact
from forecaster.errors import ArtifactError
from forecaster.schema import VERSION
from tests.fixtures_models import make_panel, make_predictor, save_model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    predictor = make_predictor(transform="log")
    save_artifact(tmp_path / "model", predictor, make_predictor(seed=9, transform="log").network.state_dict())
    return tmp_path / "model"


def test_a_loaded_model_forecasts_as_the_saved_one(saved: Path) -> None:
    panel = make_panel(missing=0.1)
    expected = make_predictor(transform="log").predict(panel, levels=[95])
    found = load_artifact(saved).predict(panel, levels=[95])
    np.testing.assert_allclose(found.median, expected.median, rtol=1e-5)  # its graph adds in another order
    np.testing.assert_allclose(found.interval(95), expected.interval(95), rtol=1e-5)


def test_the_description_holds_the_calibration_for_those_who_read(saved: Path) -> None:
    told = json.loads((saved / "config.json").read_text())["calibration"]
    loaded = load_artifact(saved)
    np.testing.assert_allclose(told["factors"], loaded.network.calibration, atol=1e-4)
    assert set(told) == {"factors", "young_steps", "young_stretch", "dependence"}
    assert "calibration" not in loaded.info.model_dump()


def test_weights_that_lack_one_are_refused(saved: Path) -> None:
    weights = load_file(saved / "weights.safetensors")
    del weights["calibration"]
    save_file(weights, saved / "weights.safetensors")
    with pytest.raises(ArtifactError, match="weights"):
        load_artifact(saved)


def test_a_network_that_has_no_graph_is_served_by_torch(tmp_path: Path) -> None:
    predictor = make_predictor(transform="asinh")
    save_artifact(tmp_path / "model", predictor)
    loaded = load_artifact(tmp_path / "model")
    assert loaded.graph is None
    np.testing.assert_array_equal(loaded.predict(make_panel()).median, predictor.predict(make_panel()).median)


def test_the_weights_of_the_backtest_are_kept_beside(saved: Path) -> None:
    panel = make_panel()
    fit = load_held_out(saved)
    assert fit is not None
    held_out = fit.predict(panel).median
    np.testing.assert_array_equal(held_out, make_predictor(seed=9, transform="log").predict(panel).median)


def test_the_directory_holds_data_only(saved: Path) -> None:
    names = sorted(path.name for path in saved.iterdir())
    assert names == ["backtest.safetensors", "config.json", "golden.json", "graph.onnx", "weights.safetensors"]
    assert json.loads((saved / "config.json").read_text())["schema_version"] == VERSION
    assert [path.name for path in saved.parent.iterdir()] == ["model"]  # nothing is left aside


def damage_weights(model: Path) -> None:
    data = bytearray((model / "weights.safetensors").read_bytes())
    data[-400:] = os.urandom(400)
    (model / "weights.safetensors").write_bytes(bytes(data))


def exchange_graph(model: Path) -> None:
    """A sound graph, of another model."""
    save_artifact(model.with_name("other"), make_predictor(seed=5, transform="log"))
    os.replace(model.with_name("other") / "graph.onnx", model / "graph.onnx")


def edit_config(model: Path, **changes: object) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda model: (model / "weights.safetensors").unlink(), "weights"),
        (lambda model: (model / "weights.safetensors").write_bytes(b"torn"), "weights"),
        (damage_weights, r"golden|no forecast"),
        (lambda model: (model / "graph.onnx").write_bytes(b"torn"), "graph"),
        (exchange_graph, "graph.onnx misses the forecast"),
        (lambda model: (model / "golden.json").unlink(), "golden"),
        (lambda model: (model / "golden.json").write_text('{"values": 1}'), "golden"),
        (lambda model: (model / "config.json").write_text("{"), "config"),
        (lambda model: edit_config(model, schema_version=99), "schema version 99; this release reads version [0-9]+$"),
        (lambda model: edit_config(model, schema_version=1), "schema version 1;.*train the model again"),
        (lambda model: edit_config(model, settings={}), "config"),
    ],
)
def test_a_damaged_model_is_refused(saved: Path, damage: object, told: str) -> None:
    damage(saved)  # type: ignore[operator]
    with pytest.raises(ArtifactError, match=told):
        load_artifact(saved)


COUNTS = {"head": "negative_binomial", "location": "zero", "scale": "size"}


@pytest.mark.parametrize(("miss", "read"), [(1.0, True), (30.0, False)])
def test_one_count_more_on_another_processor_is_no_damage(miss: float, read: bool, tmp_path: Path) -> None:
    save_model(tmp_path / "model", make_predictor(trained=False, network=COUNTS, floor=0.0))
    path = tmp_path / "model" / "golden.json"
    golden = json.loads(path.read_text())
    golden["quantiles"][0][0][7] += miss
    path.write_text(json.dumps(golden))
    if read:
        load_artifact(tmp_path / "model")
    else:
        with pytest.raises(ArtifactError, match="golden"):
            load_artifact(tmp_path / "model")


def test_it_loads_with_neither_lightning_nor_mlflow(saved: Path) -> None:
    code = (
        "import sys; from forecaster.artifact import load_artifact; load_artifact(sys.argv[1]);"
        "assert not {'mlflow', 'pytorch_lightning', 'lightning', 'fastapi', 'training', 'service'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(saved)], check=True, timeout=120)
