"""Whether a new version goes live: it must beat the present champion on the same backtest, told apart fairly."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from forecaster.artifact import load_artifact, load_held_out
from forecaster.backtest import BacktestWindows, evaluate, has_seen, score_forecasts
from forecaster.covariate_windows import CovariateWindows
from forecaster.errors import ArtifactError, InputError, OutdatedArtifact, first_line
from forecaster.predictor import Predictor
from forecaster.store.registry import CHALLENGER, champion_of, download, make_champion
from training.evaluation import cross_calibrated
from training.settings import Promotion

MEASURE = "sql"  # scaled quantile loss: proper for the whole forecast, and comparable over series
_GONE = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """champion: the scores of the champion that it was judged against, and `rival` that champion's version, if any"""

    promoted: bool
    reason: str
    champion: dict[str, float] | None = None
    rival: int | None = None


def judge(
    client: MlflowClient,
    name: str,
    run_id: str,
    score: float,
    windows: BacktestWindows,
    policy: Promotion,
    levels: Sequence[float],
) -> Verdict:
    """Compare the new model's score with the champion's on the same windows, and at its `levels`; lower is better."""
    if policy == "never":
        return Verdict(False, "not promoted: promotion was switched off for this run")
    champion = champion_of(client, name)
    if champion is None:
        return Verdict(True, "promoted: there was no champion before")
    if champion.run_id == run_id:  # an earlier attempt at this job was ended just after its promotion
        return Verdict(True, champion.description or "promoted", rival=int(champion.version))
    try:
        with tempfile.TemporaryDirectory() as directory:
            scores, caveat = score_artifact(_fetched(champion, Path(directory)), windows, levels)
    except OutdatedArtifact as error:  # nor can it be served
        reason = f"promoted: the champion, version {champion.version}, cannot be read any more: {error}"
        return Verdict(True, reason, rival=int(champion.version))
    except ArtifactError as error:
        problem = f"the champion, version {champion.version}, could not be judged: {error}"
        if policy == "always":
            return Verdict(True, f"promoted as asked: {problem}", rival=int(champion.version))
        reason = f"not promoted: {problem}; `--promote always` takes its place"
        return Verdict(False, reason, rival=int(champion.version))
    rival = scores[MEASURE]
    comparison = f"scaled quantile loss {score:.4f} against {rival:.4f} of version {champion.version}{caveat}"
    if policy == "always":
        return Verdict(True, f"promoted as asked: {comparison}", scores, int(champion.version))
    if score < rival:
        return Verdict(True, f"promoted: {comparison}", scores, int(champion.version))
    return Verdict(False, f"not promoted: {comparison}", scores, int(champion.version))


def _fetched(champion: ModelVersion, directory: Path) -> Path:
    """Its files. Raises ArtifactError where the server has them no more, which no further attempt would change."""
    try:
        return download(champion, directory)
    except MlflowException as error:
        if error.error_code not in _GONE:
            raise
        raise ArtifactError(f"its files cannot be fetched ({first_line(error)})") from error


def holds(verdict: Verdict, client: MlflowClient, name: str) -> bool:
    """Whether the champion is still the one that the verdict compared with: another training may have ended since."""
    champion = champion_of(client, name)
    return not verdict.promoted or (None if champion is None else int(champion.version)) == verdict.rival


def settle(client: MlflowClient, name: str, version: int, verdict: Verdict) -> None:
    """Write the verdict to the registry: the alias and, in words, the version's description."""
    client.update_model_version(name, str(version), verdict.reason)
    if verdict.promoted:
        make_champion(client, name, version)
    else:
        client.set_registered_model_alias(name, CHALLENGER, str(version))
    logger.info("%s version %d: %s", name, version, verdict.reason)


def score_artifact(folder: Path, windows: BacktestWindows, levels: Sequence[float]) -> tuple[dict[str, float], str]:
    """A champion's scores, and what should be known of them. Raises ArtifactError when it cannot be judged.

    levels: probabilities whose quantiles are scored, whatever its own are
    Where it has seen steps that these windows forecast, the weights of its fit that held out its end are judged. It is
    calibrated as the new model is: on the other half of the series.
    """
    predictor = load_artifact(folder)
    if not predictor.freq.same_step(windows.panel.freq):
        raise ArtifactError(f"it forecasts at {predictor.freq}, this data is at {windows.panel.freq}")
    try:
        CovariateWindows.of(windows.panel, predictor.info.settings.covariates, windows.horizon)
    except InputError as error:
        told = f"{error.field}: {error.problem}"
        raise ArtifactError(f"it needs what this training does not read ({told})") from error
    caveat = ""
    if has_seen(predictor.info, windows):
        held_out = int(predictor.info.data.get("held_out", 0))
        caveat = ", which has seen some of these steps" if has_seen(predictor.info, windows, held_out) else ""
        held_out_fit = load_held_out(folder)
        if held_out_fit is None:
            raise ArtifactError("it has seen these steps, and kept no fit that has not")
        predictor = held_out_fit
    if predictor.info.horizon != windows.horizon:  # rolled forward or cut: its own calibration is all there is
        return evaluate(predictor, windows, levels).metrics, caveat
    predictor = Predictor(predictor.network, predictor.info)  # without its graph, which holds its own calibration
    predictor.network.calibration.fill_(1.0)
    predictor.network.young_stretch.fill_(1.0)
    return score_forecasts(predictor, windows, cross_calibrated(predictor, windows), levels).metrics, caveat
