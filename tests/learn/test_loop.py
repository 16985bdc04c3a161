"""The training loop: it learns, stops when told, keeps the best, and goes on after a crash as if it had not stopped."""

import logging
import math
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from srpu.errors import CheckpointError, TrainingError
from srpu.learn.checkpoint import load_tensors
from srpu.learn.loop import Course, History, Plan, fit
from srpu.learn.tracker import Trackers


class Line(nn.Module):
    """y = a x + b, with dropout and a running mean so that random and whole-number state matter."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1)
        self.linear = nn.Linear(1, 1)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.dropout(self.norm(x)))


def batches(start: int) -> Iterator[Tensor]:
    for number in count(start):
        yield torch.randn(16, 1, generator=torch.Generator().manual_seed(number))


def step(model: nn.Module, x: Tensor) -> Tensor:
    return ((model(x) - (3 * x + 1)) ** 2).mean()


class Judge:
    """Gives the scores it is told to."""

    def __init__(self, *scores: float) -> None:
        self.scores = iter(scores)

    def __call__(self, model: nn.Module) -> dict[str, float]:
        return {"score": next(self.scores)}


def train(
    folder: Path, plan: Plan, *, judge=None, resume: bool = False, step=step, seed: int = 0, tracker=None
) -> tuple[nn.Module, History, list[int]]:  # type: ignore[no-untyped-def]
    torch.manual_seed(seed)
    model, kept = Line(), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    course = Course(batches, step, judge, lambda model, epoch, score: kept.append(epoch))
    averaged, history = fit(
        model,
        optimizer,
        course,
        plan,
        accelerator=Accelerator(cpu=True),
        state_path=folder / "state.pth",
        tracker=tracker or Trackers(),
        resume=resume,
    )
    return averaged, history, kept


def test_it_learns(tmp_path: Path) -> None:
    _, history, _ = train(tmp_path, Plan(epochs=8, steps_per_epoch=20))
    losses = [row["loss"] for row in history.rows]
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("stop_at", [0, 7, 12, 19])
def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path, stop_at: int) -> None:
    plan = Plan(epochs=4, steps_per_epoch=5, seed=3)
    whole, expected, _ = train(tmp_path / "whole", plan, judge=Judge(0.1, 0.3, 0.2, 0.25))
    calls = count()

    def dying(model: nn.Module, x: Tensor) -> Tensor:
        if next(calls) == stop_at:
            raise KeyboardInterrupt
        return step(model, x)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", plan, judge=Judge(0.1, 0.3, 0.2, 0.25), step=dying)
    ended = stop_at // plan.steps_per_epoch
    rest = Judge(*(0.1, 0.3, 0.2, 0.25)[ended:])
    given, history, _ = train(tmp_path / "killed", plan, judge=rest, resume=ended > 0, seed=99 if ended else 0)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, given.state_dict()[name]), name
    assert [row["loss"] for row in history.rows] == [row["loss"] for row in expected.rows]
    assert (history.best_epoch, history.best_score) == (2, 0.3)


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    _, history, kept = train(tmp_path, Plan(epochs=4, steps_per_epoch=2), judge=Judge(0.5, 0.7, 0.6, 0.8))
    assert kept == [1, 2, 4]
    assert (history.best_epoch, history.best_score) == (4, 0.8)


def test_a_score_that_is_not_defined_never_wins(tmp_path: Path) -> None:
    _, history, kept = train(tmp_path, Plan(epochs=3, steps_per_epoch=2), judge=Judge(math.nan, 0.2, math.nan))
    assert kept == [1, 2]
    assert history.best_score == 0.2


def test_without_validation_the_last_epoch_is_kept(tmp_path: Path) -> None:
    _, history, kept = train(tmp_path, Plan(epochs=3, steps_per_epoch=2))
    assert kept == [1, 2, 3]
    assert math.isnan(history.best_score)


def test_patience_ends_training(tmp_path: Path) -> None:
    judge = Judge(0.5, 0.6, 0.6, 0.4, 0.9)
    _, history, _ = train(tmp_path, Plan(epochs=9, steps_per_epoch=2, patience=2), judge=judge)
    assert (history.epoch, history.best_epoch) == (4, 2)


def test_minutes_end_training_inside_an_epoch_with_the_learning_rate_at_zero(tmp_path: Path) -> None:
    plan = Plan(epochs=10**6, steps_per_epoch=10**6, max_minutes=0.02, warmup_epochs=0)
    _, history, kept = train(tmp_path, plan)
    assert kept == [1]
    assert history.rows[-1]["learning_rate"] == pytest.approx(0, abs=1e-6)


def test_the_running_average_is_what_is_judged(tmp_path: Path) -> None:
    seen = []

    def judge(model: nn.Module) -> dict[str, float]:
        seen.append(model.linear.bias.item())  # type: ignore[union-attr,operator]
        return {"score": 0.0}

    for decay in (0.0, 0.999):
        train(tmp_path / str(decay), Plan(epochs=1, steps_per_epoch=30, ema_decay=decay), judge=judge)
    plain, averaged = seen
    state = load_tensors(tmp_path / "0.999" / "state.pth")
    assert float(state["model"]["linear.bias"]) == plain
    assert averaged != plain


def test_a_loss_that_is_no_number_stops_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="halve LEARNING_RATE"):
        train(tmp_path, Plan(epochs=2, steps_per_epoch=2), step=lambda model, x: step(model, x) * math.nan)


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {"other": torch.zeros(1)}, "average": {}, "optimizer": {}}, tmp_path / "state.pth")
    with pytest.raises(CheckpointError, match="belongs to another model"):
        train(tmp_path, Plan(epochs=2, steps_per_epoch=2), resume=True)


def test_it_says_how_long_it_may_take(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "srpu"):
        train(tmp_path, Plan(epochs=2, steps_per_epoch=10))
    assert sum("a step: about 1 minute at most" in record.getMessage() for record in caplog.records) == 1
    assert sum("With validation: about 1 minute more" in record.getMessage() for record in caplog.records) == 1


def test_numbers_reach_the_tracker_every_epoch(tmp_path: Path) -> None:
    rows: list[tuple[int, dict[str, float]]] = []

    class Notes(Trackers):
        def numbers(self, step: int, values: dict[str, float]) -> None:
            rows.append((step, values))

    train(tmp_path, Plan(epochs=2, steps_per_epoch=3, images_per_step=16), judge=Judge(0.1, 0.2), tracker=Notes())
    assert [epoch for epoch, _ in rows] == [1, 2]
    assert set(rows[0][1]) == {"loss", "learning_rate", "images_per_second", "score"}
