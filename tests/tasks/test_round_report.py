"""What the page of a round says, and what it says when something is missing."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srpu.active.stopping import Stop
from srpu.data.classes import ClassMap
from srpu.data.images import write_image
from srpu.data.index import Record
from srpu.errors import WorkspaceError
from srpu.learn import metrics
from srpu.tasks.comparison import paired_scores
from srpu.tasks.judging import draw_panel, write_png
from srpu.tasks.round_facts import Asked, Change, LabelledAs, RoundFacts, Standing
from srpu.tasks.round_report import write_round
from srpu.tasks.scores import ImageScore, Scale, Tally, summarise
from srpu.tasks.truth import Judged, JudgedImage, compare_judged
from srpu.workspace import Workspace

CLASSES = ClassMap(("carbon", "SE", "碳化物"), ((0, 0, 255), (0, 255, 255), (255, 126, 126)))


def judged(workspace: Workspace, wrong: int, groups: int = 6) -> Judged:
    """One image of two classes for each group, of whose 256 pixels ``wrong`` and a few more are mistaken."""
    images = []
    for number in range(groups):
        truth = np.repeat([0, 1], 128).reshape(16, 16).astype(np.uint8)
        labels = truth.copy()
        labels.reshape(-1)[: wrong + number % 2] = 1
        matrix = metrics.confusion(truth, labels, 3)
        tally = Tally(matrix, matrix, metrics.boundary_hits(truth, labels, 3, 2.0))
        path = workspace.path(f"active_learning_results/round_2/panels/{number:03d}.png")
        write_png(path, draw_panel(truth * 100, truth, labels, CLASSES))
        record = Record(
            f"field {number}.tif", "", None, None, None, "labeled", f"s{number}", "val", 16, 16, None, f"sha{number}"
        )
        images.append(ImageScore(record, tally, Scale(CLASSES).scores(tally), path))
    summary = summarise(images, Scale(CLASSES))
    return Judged(
        f"model {wrong}",
        "truth",
        CLASSES.names,
        tuple(
            JudgedImage(
                image.record.id,
                image.record.sha256,
                image.group,
                image.scores,
                paired_scores(image.tally.matrix, CLASSES),
                workspace.name(image.panel),
            )
            for image in images
        ),
        summary.scores,
        summary.over_groups,
        tuple(int(pixels) for pixels in summary.tally.matrix.sum(axis=1)),
    )


def asked(workspace: Workspace, number: int) -> Asked:
    folder = workspace.path("active_learning_predictions/round_2")
    image, mask, unsure = (folder / f"{number}_{what}.png" for what in ("image", "mask", "unsure"))
    write_image(image, np.arange(400, dtype=np.uint16).reshape(20, 20))
    Image.fromarray(np.full((20, 20, 3), (255, 126, 126), np.uint8)).save(mask)
    Image.fromarray(np.full((10, 10), 200, np.uint8)).save(unsure)
    scores = {"entropy": 0.5, "core_set": 0.25}
    return Asked(f"batch__field_{number}", f"reason {number}", 0.75, scores, image, None, mask, unsure)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "工作 区")


def facts_of(workspace: Workspace, new: int = 4, best: int | None = 20, groups: int = 6) -> RoundFacts:
    ours = judged(workspace, new, groups)
    theirs = None if best is None else judged(workspace, best, groups)
    decision = compare_judged(ours, theirs)
    history = [
        Standing(1, 20, 0.8, 0.7, 0.9, "first", True),
        Standing(2, 40, *ours.spread(), decision.verdict, decision.promoted),
    ]
    labels = {"a": LabelledAs("train", "drawn"), "b": LabelledAs("train", "not reviewed")}
    labels |= {f"sha{number}": LabelledAs("val", "confirmed") for number in range(2)}
    return RoundFacts(
        2,
        CLASSES,
        ours,
        theirs,
        decision,
        history,
        [asked(workspace, number) for number in range(3)],
        pool=17,
        labels=labels,
        corrections={"SE": Change(1000, 30, 50)},
        stop=Stop((), ("Improvement is looked at after 6 rounds (PATIENCE = 5).",)),
        facts={"Model": "models/checkpoints/m/round_2_best.pth"},
    )


def page_of(workspace: Workspace, facts: RoundFacts) -> str:
    path = workspace.path("active_learning_results/round_2/report.html")
    return write_round(path, facts, workspace).read_text(encoding="utf-8")


def test_the_page_tells_all(workspace):
    facts = facts_of(workspace)
    page = page_of(workspace, facts)
    for said in (
        "Active learning, round 2",
        "better than the best one so far, and takes its place",
        facts.decision.reason,
        "17 left in the pool",
        "Score against labels",
        "1. batch__field_0",
        "reason 2",
        "core set",
        "Worst validation images",
        "a prediction found right",
        "Improvement is looked at after 6 rounds",
        "怎样阅读",
        "models/checkpoints/m/round_2_best.pth",
        "8.0%",
    ):
        assert said in page, said
    assert "No validation image holds 碳化物: how well that is found is unjudged." in page
    assert page.count("data:image/png") == 1
    assert page.count("data:image/jpeg") == 3 + 6
    assert 'href="panels/001.png"' in page
    assert "97.5% intervals" in page


def test_the_worst_image_comes_first(workspace):
    page = page_of(workspace, replace(facts_of(workspace), worst_cases=1))
    assert "field 1.tif: mean Dice" in page
    assert "field 0.tif: mean Dice" not in page


def test_a_worse_model_is_kept_out_and_said(workspace):
    page = page_of(workspace, facts_of(workspace, new=30, best=4))
    assert "worse than the best one so far, which stays" in page
    assert "the new labels stay in training" in page
    assert "not taken" in page


def test_a_forced_model_is_said(workspace):
    facts = facts_of(workspace, new=30, best=4)
    decision = compare_judged(facts.judged, facts.best, forced=True)
    page = page_of(workspace, replace(facts, decision=decision))
    assert "but takes its place by force" in page
    assert "by force although it is worse" in page


def test_the_first_model_has_nothing_to_compare_with(workspace):
    page = page_of(workspace, facts_of(workspace, best=None))
    assert "The first model is judged." in page
    assert "best so far</th>" not in page


def test_one_group_has_no_interval(workspace):
    page = page_of(workspace, facts_of(workspace, groups=1))
    assert "one specimen (group), so there is no interval" in page
    assert "[n/a]" in page
    assert "cannot be told apart" in page


def test_without_validation_the_page_says_so(workspace):
    facts = facts_of(workspace)
    empty = Judged("m", "t", CLASSES.names, held=(0, 0, 0))
    history = [Standing(1, 20, math.nan, math.nan, math.nan, "first", True)]
    stop = Stop(("The pool is empty: there is nothing left to ask for.",))
    facts = replace(facts, judged=empty, best=None, decision=compare_judged(empty, None))
    page = page_of(workspace, replace(facts, history=history, asked=(), stop=stop))
    assert "nobody can tell how good the new model is" in page
    assert "srpu index --grow-truth" in page
    assert "Nothing is asked for." in page
    assert "The rounds end here. The pool is empty" in page
    assert "data:image" not in page


def test_files_that_are_gone_leave_no_hole(workspace):
    facts = facts_of(workspace)
    workspace.path(facts.judged.images[0].panel).unlink()
    first, second, third = facts.asked
    second.uncertainty.unlink()
    second.mask.write_bytes(b"no picture")
    third.image.write_bytes(b"no picture")
    bare = Asked("chance", "drawn at random")
    page = page_of(workspace, replace(facts, asked=[first, second, third, bare]))
    assert page.count("data:image/jpeg") == 2 + 5
    assert "4. chance" in page


def test_many_queries_are_folded(workspace, monkeypatch):
    monkeypatch.setattr("srpu.tasks.round_report.SHOWN", 2)
    page = page_of(workspace, facts_of(workspace))
    assert "1 more that are asked for" in page
    assert "<details>" in page


def test_the_page_needs_nothing_but_itself_and_names_cannot_break_it(workspace):
    facts = facts_of(workspace)
    page = page_of(workspace, replace(facts, asked=[replace(facts.asked[0], reason="<b>bold</b>")]))
    assert "<b>bold" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_page_that_cannot_be_written_is_one_sentence(workspace):
    path = workspace.path("active_learning_results/round_2/report.html")
    facts = facts_of(workspace)
    path.mkdir(parents=True)
    with pytest.raises(WorkspaceError, match=r"report\.html"):
        write_round(path, facts, workspace)
