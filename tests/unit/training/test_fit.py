import logging
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from forecaster.errors import TrainingError
from forecaster.network import ForecastNetwork
from tests.fixtures_models import make_panel, model_settings
from training.fit import FitResult, LitForecaster, fit
from training.loss import Objective
from training.preparation import build_network, build_objective, training_windows
from training.progress import Progress
from training.sampling import Batch
from training.settings import FitSettings, TrainingSettings
from training.shortcut import fit_shortcut

CPU = torch.device("cpu")


def settings(**fit_changes: object) -> TrainingSettings:
    plan = {"steps": 40, "batch": 16, "seed": 3, **fit_changes}
    return TrainingSettings(model=model_settings(), fit=FitSettings.model_validate(plan))


def run(
    plan: TrainingSettings, checkpoint: Path | None = None, observer: object = None
) -> tuple[ForecastNetwork, FitResult]:
    windows = training_windows(make_panel(missing=0.1), plan, 24, CPU)
    network = build_network(plan, windows)
    result = fit(network, windows, build_objective(plan, windows), plan.fit, observer=observer, checkpoint=checkpoint)
    return network, result


def same(a: ForecastNetwork, b: ForecastNetwork) -> bool:
    """Weights and buffers, and the line that the fit began from."""
    return all(
        torch.equal(x, y)
        for parts in (nn.Module.parameters, nn.Module.buffers)
        for x, y in zip(parts(a), parts(b), strict=True)
    )


def test_fitting_lowers_the_loss_and_tells_of_its_progress() -> None:
    told: list[Progress] = []
    _, result = run(settings(steps=200), observer=told.append)
    assert [p.epoch for p in told] == list(range(1, 21))
    assert result.loss < told[0].loss
    assert told[-1].seconds_left == 0
    assert all(p.windows_per_second > 0 for p in told)


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 10, 15])
def test_a_fit_may_be_of_very_few_steps(steps: int, schedule: str) -> None:
    assert run(settings(steps=steps, schedule=schedule))[1].loss > 0


@pytest.mark.parametrize("steps", [19, 21, 39, 99])
def test_a_fit_takes_as_many_steps_as_it_is_told(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    taken = []
    step = LitForecaster.training_step
    monkeypatch.setattr(LitForecaster, "training_step", lambda *args: taken.append(1) or step(*args))
    told: list[Progress] = []
    run(settings(steps=steps), observer=told.append)
    assert len(taken) == steps
    assert [p.epoch for p in told] == list(range(1, told[-1].epochs + 1))
    assert len(told) <= 20


def with_dropout() -> TrainingSettings:
    return settings().model_copy(update={"model": model_settings(network={"dropout": 0.3})})


@pytest.mark.parametrize("plan", [settings(), with_dropout()])
def test_the_same_seed_gives_the_same_weights(plan: TrainingSettings) -> None:
    first = run(plan)[0]
    torch.rand(1)  # what else a process draws is nothing to it
    before = torch.get_rng_state()
    assert same(first, run(plan)[0])
    assert torch.equal(torch.get_rng_state(), before)
    assert not same(first, run(plan.model_copy(update={"fit": plan.fit.model_copy(update={"seed": 4})}))[0])


def test_an_interruption_ends_as_one_and_leaves_signals_as_they_were() -> None:
    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(settings(), observer=interrupt)
    assert signal.getsignal(signal.SIGINT) is before


class Killed(Exception):
    pass


@pytest.mark.parametrize("plan", [settings(), with_dropout(), settings(linear_start=True)])
def test_an_interrupted_fit_goes_on_where_it_was_and_ends_the_same(tmp_path: Path, plan: TrainingSettings) -> None:
    whole, _ = run(plan, tmp_path / "whole")
    epochs: list[int] = []

    def die_at_three(progress: Progress) -> None:
        epochs.append(progress.epoch)
        if progress.epoch == 3 and len(epochs) == 3:
            raise Killed

    with pytest.raises(Killed):
        run(plan, tmp_path / "torn", die_at_three)
    resumed, _ = run(plan, tmp_path / "torn", die_at_three)
    assert epochs[3] in (3, 4)  # not from the first epoch again
    assert same(resumed, whole)


def test_a_fit_that_had_finished_is_taken_as_it_was(tmp_path: Path) -> None:
    first, result = run(settings(), tmp_path)
    again, same_result = run(settings(), tmp_path)
    assert same(first, again)
    assert same_result == result


@pytest.mark.parametrize("linear_start", [True, False])
def test_a_share_of_a_fit_lies_between_all_of_it_and_the_line_that_it_began_from(
    tmp_path: Path, linear_start: bool
) -> None:
    """Of a fit that another process has finished, too."""
    plan = settings(linear_start=linear_start, steps=60)
    run(plan, tmp_path)
    windows = training_windows(make_panel(missing=0.1), plan, 24, CPU)
    model = plan.model
    context = windows.draw(64, model.context, model.horizon, 0.0, 1, torch.Generator().manual_seed(5)).context
    begun = build_network(plan, windows)
    if linear_start:
        fit_shortcut(begun, windows, build_objective(plan, windows).quantile_loss, plan.fit.seed)
    begun.members[0].head.restrain(0.0)  # type: ignore[operator, union-attr]
    found = {}
    for share in (1.0, 0.5, 0.0):
        network, _ = run(plan, tmp_path)
        network.restrain(share)
        with torch.no_grad():
            found[share] = network(*context[:2])[:, :, network.median]
    assert not torch.allclose(found[1.0], found[0.0])
    torch.testing.assert_close(found[0.5], (found[1.0] + found[0.0]) / 2)
    with torch.no_grad():
        torch.testing.assert_close(found[0.0], begun(*context[:2])[:, :, network.median])


def test_numbers_too_small_to_have_all_digits_are_zero_in_a_fit_and_only_there() -> None:
    tiny = torch.tensor([1e-40])
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor has no such setting")
    torch.set_flush_denormal(False)
    within: list[float] = []
    run(settings(steps=2), observer=lambda _: within.append(float(tiny * 0.5)))
    assert set(within) == {0.0}
    assert float(tiny * 0.5) > 0


@pytest.mark.parametrize("decay", [0.9, 0.95, 0.99])
def test_averaging_leaves_what_is_no_weight_as_it_was(decay: float) -> None:
    plan = settings(average_decay=decay, steps=200)
    network, _ = run(plan)
    fresh = build_network(plan, training_windows(make_panel(missing=0.1), plan, 24, CPU))
    buffers = dict(network.named_buffers())
    begun = buffers.pop("members.0.begun")
    assert torch.equal(begun[:, :-1], fresh.members[0].highway.weight)  # type: ignore[union-attr, arg-type]
    for name, before in fresh.named_buffers():
        assert torch.equal(buffers.pop(name), before), name
    assert not buffers


def test_the_kept_weights_are_the_exponential_average_from_the_first_step_on(monkeypatch: pytest.MonkeyPatch) -> None:
    decay = 0.8
    stepped: list[dict[str, torch.Tensor]] = []
    take = LitForecaster.optimizer_step

    def step(module: LitForecaster, *args: object, **named: object) -> None:
        take(module, *args, **named)
        stepped.append({name: weight.detach().clone() for name, weight in module.network.named_parameters()})

    monkeypatch.setattr(LitForecaster, "optimizer_step", step)
    network, _ = run(settings(average_decay=decay, steps=60))
    assert len(stepped) == 60
    average = stepped[0]
    for weights in stepped[1:]:
        average = {name: decay * average[name] + (1 - decay) * weight for name, weight in weights.items()}
    for name, weight in network.named_parameters():
        torch.testing.assert_close(weight.detach(), average[name], msg=name)


class Exploding(Objective):
    """A loss that is no number for its first steps."""

    remaining = 0

    def forward(self, network: ForecastNetwork, batch: Batch) -> torch.Tensor:
        type(self).remaining -= 1
        loss = super().forward(network, batch)
        return loss * float("nan") if type(self).remaining >= 0 else loss


def explode(steps: int, plan: TrainingSettings) -> FitResult:
    windows = training_windows(make_panel(), plan, 24, CPU)
    bad = Exploding(plan.model.members[0], build_objective(plan, windows).quantile_loss, 0.0)
    Exploding.remaining = steps
    return fit(build_network(plan, windows), windows, bad, plan.fit)


def test_a_fit_that_diverges_starts_again_more_calmly_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "training.fit"):
        assert explode(2, settings()).loss < 100
    assert "starting again at a learning rate of 0.001" in caplog.text


def test_a_fit_that_diverges_twice_fails_in_words() -> None:
    with pytest.raises(TrainingError, match="diverged twice"):
        explode(10**6, settings())


def test_a_typical_scale_is_learnt_for_series_too_short_to_have_one() -> None:
    plan = settings()
    panel = make_panel()
    network = build_network(plan, training_windows(panel, plan, 0, CPU))
    # The series are a level and a seasonal swing of a fifth of it, whose standard deviation is 1/√2 of that.
    assert network.members[0].typical_scale.item() == pytest.approx(0.2 / 2**0.5, rel=0.1)


COUNTS = {"head": "negative_binomial", "location": "zero", "scale": "size"}


@pytest.mark.parametrize(
    ("network", "fit_changes"),
    [
        ({"head": "normal"}, {"loss": "likelihood"}),
        ({"head": "student_t", "cell": "lstm"}, {"loss": "likelihood"}),
        ({"head": "student_t"}, {}),
        (COUNTS, {"loss": "likelihood"}),
        ({"cell": "lstm_peephole", "decoder": "pmf"}, {"auxiliary_weight": 0.5}),
        ({"cell": "gru_reset_before", "decoder": "autoregressive"}, {"schedule": "cosine"}),
        ({"attention": 2, "dropout": 0.1}, {"optimiser": "adam", "weight_decay": 0.0}),
        ({}, {"optimiser": "rmsprop", "learning_rate": 1e-3, "weight_decay": 0.0}),
        (
            {},
            {
                "optimiser": "sgd",
                "learning_rate": 0.3,
                "quantile_weight": 1.0,
                "weight_decay": 0.0,
                "schedule": "constant",
            },
        ),
    ],
)
def test_every_head_decoder_and_optimiser_learns(network: dict[str, object], fit_changes: dict[str, object]) -> None:
    plan = {"steps": 200, "batch": 16, "seed": 3, **fit_changes}
    settings = TrainingSettings(model=model_settings(network=network), fit=FitSettings.model_validate(plan))
    told: list[Progress] = []
    fitted, _ = run(settings, observer=told.append)
    losses = [progress.loss for progress in told]
    assert sum(losses[-5:]) < sum(losses[:5])
    forecast = fitted(*training_windows(make_panel(), settings, 0, CPU).draw(8, 96, 24, 0.0, 1, seeded()).context)
    assert torch.isfinite(forecast).all()
    assert (forecast.diff(dim=-1) >= 0).all()


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_losses_that_do_not_fit_their_head_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a parametric head"):
        TrainingSettings(model=model_settings(), fit=FitSettings(loss="likelihood"))
    with pytest.raises(ValueError, match="needs loss likelihood"):
        TrainingSettings(model=model_settings(network=COUNTS), fit=FitSettings())


@pytest.mark.parametrize("plan", [settings(), settings(average_decay=0.0)])
def test_a_fit_that_was_killed_after_its_last_epoch_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: TrainingSettings
) -> None:
    whole, expected = run(plan, tmp_path / "whole")

    def die(*_: object) -> FitResult:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("training.fit._keep", die)
        with pytest.raises(Killed):
            run(plan, tmp_path / "torn")
    resumed, result = run(plan, tmp_path / "torn")
    assert same(resumed, whole)
    assert result.loss == expected.loss
    assert result.windows_per_second > 0
