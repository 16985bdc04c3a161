"""Uncertainty maps: numbers by hand, and what must hold for any probabilities."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from srpu.active.uncertainty import STRATEGIES, Ensemble, boundary, confidence, entropy, margin, own_strategies
from srpu.errors import SettingsError


def pixel(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"boundary"}))
def test_certain_is_0_and_uniform_is_1(name: str) -> None:
    assert STRATEGIES[name](pixel(0, 1, 0)).item() == 0
    assert STRATEGIES[name](pixel(*[0.25] * 4)).item() == pytest.approx(1)


def test_numbers_by_hand() -> None:
    assert entropy(pixel(0.5, 0.5, 0)).item() == pytest.approx(0.6309, abs=1e-4)  # log 2 / log 3
    assert confidence(pixel(0.6, 0.3, 0.1)).item() == pytest.approx(0.6)  # 0.4 of the possible 2/3
    assert margin(pixel(0.3, 0.6, 0.1)).item() == pytest.approx(0.7)


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), st.permutations([0, 1, 2]))
@settings(max_examples=50, deadline=None)
def test_the_order_of_classes_does_not_matter(values: list[float], order: list[int]) -> None:
    total = sum(values)
    first = pixel(*(value / total for value in values))
    second = first[:, order]
    for strategy in (entropy, confidence, margin):
        assert strategy(first).item() == pytest.approx(strategy(second).item(), abs=1e-5)
        assert 0 <= strategy(first).item() <= 1


def test_boundary_counts_a_quarter_far_from_boundaries() -> None:
    probabilities = torch.full((1, 2, 40, 40), 0.4)
    probabilities[0, 0, :, :20] = 0.6
    probabilities[0, 1, :, 20:] = 0.6
    probabilities[0, 0, :, 20:], probabilities[0, 1, :, :20] = 0.4, 0.4
    found, plain = boundary(probabilities)[0], entropy(probabilities)[0]
    torch.testing.assert_close(found[:, 15:25], plain[:, 15:25])
    torch.testing.assert_close(found[:, :10], plain[:, :10] / 4)


def test_an_ensemble_disagrees_only_where_its_members_do() -> None:
    same, apart = Ensemble(), Ensemble()
    for _ in range(3):
        same.add(pixel(0.7, 0.3))
    apart.add(pixel(1, 0))
    apart.add(pixel(0, 1))
    assert same.disagreement().item() == pytest.approx(0, abs=1e-6)
    assert apart.disagreement().item() == pytest.approx(1)
    torch.testing.assert_close(apart.mean, pixel(0.5, 0.5))


def test_own_strategies_are_found_by_name(tmp_path: Path) -> None:
    path = tmp_path / "uncertainty_util.py"
    path.write_text("def first(p):\n    return p[:, 0]\n\ndef _hidden(p):\n    return p\n", encoding="utf-8")
    own = own_strategies(path)
    assert list(own) == ["first"]
    assert own["first"](pixel(0.25, 0.75)).item() == 0.25


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return p", r"gives \(1, 2, 1, 1\) instead of a tensor of shape \(1, 1, 1\)"),
        ("return 0.5", "gives float instead"),
        ("return p[:, 0] * 7", "must lie in 0 to 1"),
        ("return p[:, 0] * float('nan')", "must lie in 0 to 1"),
        ("return missing", "fails .NameError"),
    ],
)
def test_own_strategies_that_are_wrong(tmp_path: Path, body: str, says: str) -> None:
    path = tmp_path / "uncertainty_util.py"
    path.write_text(f"def mine(p):\n    {body}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=says) as error:
        own_strategies(path)["mine"](pixel(0.5, 0.5))
    assert "mine in" in str(error.value)


def test_a_file_of_own_strategies_that_is_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="There is no"):
        own_strategies(tmp_path / "none.py")
    path = tmp_path / "broken.py"
    path.write_text("def mine(p:\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"cannot be run \(SyntaxError"):
        own_strategies(path)
