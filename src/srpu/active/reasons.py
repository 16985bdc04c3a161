"""Why something is asked for, in words that its annotator reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NOTABLE = 0.8
"""Standing in the pool from which a reason is worth telling."""

MUCH = 1.5
"""How many times the pool's mean share of a class is much."""

BY_CHANCE = "drawn at random"


@dataclass(frozen=True)
class Facts:
    """What is known of a pick.

    Attributes:
        uncertainty: Each strategy's score.
        above: For each of them, which share of the pool has a score that is as high or higher.
        diversity: "core_set" and "cluster_based", each 0 to 1, at the time of the pick.
        shares: Predicted share of each class by its name; empty where classes do not count.
        mean: The same, over the pool.
        labelled: Whether anything was labelled or picked before.
        lucky: Whether others would have come first without chance.
    """

    uncertainty: Mapping[str, float]
    above: Mapping[str, float]
    diversity: Mapping[str, float]
    shares: Mapping[str, float]
    mean: Mapping[str, float]
    labelled: bool = True
    lucky: bool = False


def reason(facts: Facts) -> str:
    """The reasons that apply, the same order each time; never empty.

    >>> reason(Facts({"entropy": 0.61}, {"entropy": 0.013}, {"core_set": 0.97}, {"SE": 0.3}, {"SE": 0.1}))
    'unsure (entropy 0.61, top 2 % of the pool); far from all that is labelled; holds much of class SE (30 %)'
    """
    said = [*_unsure(facts), *_different(facts), *_classes(facts)]
    if not said:
        said = ["the best of what is left, all in all"] if not facts.lucky else []
    if facts.lucky:
        said.append("also by chance, as in all early rounds" if said else "by chance, as in all early rounds")
    return "; ".join(said)


def of_class(name: str, share: float) -> str:
    """Why something was drawn for a class.

    >>> of_class("SE", 0.12)
    'drawn at random among what shows class SE (12 %)'
    """
    return f"{BY_CHANCE} among what shows class {name} ({percent(share)})"


def percent(share: float) -> str:
    """A share for people; small ones keep a digit that counts.

    >>> percent(0.3), percent(0.004), percent(0.00001)
    ('30 %', '0.4 %', '< 0.1 %')
    """
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.1f} %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def top(above: float) -> str:
    """Where in the pool a score stands.

    >>> top(0.0), top(0.013), top(0.5)
    ('top 1 %', 'top 2 %', 'top 50 %')
    """
    return f"top {max(1, math.ceil(round(100 * above, 6)))} %"


def names(classes: Sequence[str], count: int) -> list[str]:
    """A name for each of ``count`` classes; the id where none is known.

    >>> names(["carbon"], 2)
    ['carbon', '1']
    """
    return [classes[number] if number < len(classes) else str(number) for number in range(count)]


def _unsure(facts: Facts) -> list[str]:
    if not facts.above:
        return []
    name = min(facts.above, key=lambda one: facts.above[one])
    if facts.above[name] > 1 - NOTABLE:
        return []
    return [f"unsure ({name} {facts.uncertainty[name]:.2f}, {top(facts.above[name])} of the pool)"]


def _different(facts: Facts) -> list[str]:
    said = []
    if facts.labelled and facts.diversity.get("core_set", 0) >= NOTABLE:
        said.append("far from all that is labelled")
    if facts.diversity.get("cluster_based", 0) >= NOTABLE:
        said.append("typical of many images")
    return said


def _classes(facts: Facts) -> list[str]:
    much = {name: share / facts.mean[name] for name, share in facts.shares.items() if facts.mean[name] > 0}
    name = max(much, key=lambda one: much[one], default=None)
    if name is None or much[name] < MUCH:
        return []
    return [f"holds much of class {name} ({percent(facts.shares[name])})"]
