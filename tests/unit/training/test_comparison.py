import pytest

from training.comparison import Trial, conclude, summarise


def trial(cell: str, seed: int, mase: float, seconds: float = 10.0) -> Trial:
    return Trial(
        cell=cell, seed=seed, run_id="r", parameters=7, seconds=seconds, windows_per_second=100.0 * seed,
        metrics={"mase": mase, "smape": 10.0 * seed, "sql": 0.5, "coverage-95": 0.95},
    )  # fmt: skip


def test_a_cell_is_summarised_over_its_seeds_in_the_order_of_the_cells() -> None:
    trials = [trial("lstm", 1, 0.7), trial("gru", 1, 0.8, 4.0), trial("lstm", 2, 0.9), trial("gru", 2, 0.8, 6.0)]
    lstm, gru = summarise(trials)
    assert (lstm.cell, gru.cell, gru.parameters) == ("lstm", "gru", 7)
    assert (lstm.mase, gru.mase, gru.seconds) == pytest.approx((0.8, 0.8, 5.0))
    assert (lstm.mase_sd, gru.mase_sd, gru.seconds_sd) == pytest.approx((0.02**0.5, 0.0, 2**0.5))
    assert (gru.windows_per_second, gru.metrics["smape"]) == (150.0, 15.0)


def test_a_difference_is_held_against_the_spread_of_the_best_two() -> None:
    def told(*mase: tuple[float, float]) -> str:
        cells = zip(("rnn", "lstm", "gru"), mase, strict=False)
        return conclude(summarise([trial(cell, seed, of[seed]) for cell, of in cells for seed in (0, 1)]), 2)

    # Two values 0.02 apart have a standard deviation of 0.0141.
    assert told((0.90, 0.92), (0.70, 0.72), (0.71, 0.73)) == (
        "The best two, lstm and gru, differ by 0.0100 in MASE, no more than the spread over 2 seeds "
        "(standard deviation 0.0141)."
    )
    assert told((0.90, 0.92), (0.73, 0.75), (0.71, 0.73)).startswith("The best two, gru and lstm, differ by 0.0200")
    assert "in MASE, more than the spread over 2 seeds" in told((0.90, 0.92), (0.73, 0.75), (0.71, 0.73))


def test_nothing_is_concluded_from_one_seed_or_one_cell() -> None:
    one_seed = conclude(summarise([trial("gru", 1, 0.7), trial("rnn", 1, 0.9)]), 1)
    assert one_seed == (
        "The best two, gru and rnn, differ by 0.2000 in MASE; one seed does not tell how much of that is chance."
    )
    assert conclude(summarise([trial("gru", 1, 0.7)]), 1) == "There is one cell, and nothing to compare it with."
