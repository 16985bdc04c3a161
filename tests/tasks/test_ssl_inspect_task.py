"""What a pretrained encoder has learned: shown, probed against random weights, and said in one sentence."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from srpu.config import load_settings
from srpu.errors import CheckpointError, IndexingError, LeakError
from srpu.files import read_json, write_json
from srpu.learn.checkpoint import load_tensors, save_tensors
from srpu.tasks import index_task, ssl_inspect_task, ssl_pretrain_task
from srpu.tasks.ssl_probes import Probed, judge
from srpu.workspace import Workspace

SMALL = ["ENCODER_NAME=unet", "CROP_SIZE=32", "DEVICE=cpu"]
QUICK = [*SMALL, "BATCH_SIZE=2", "NUM_EPOCHS=1", "STEPS_PER_EPOCH=2", "LOGGER=none", "PRECISION=fp32"]


def pretrain(workspace: Workspace, *overrides: str) -> ssl_pretrain_task.Outcome:
    return ssl_pretrain_task.run(load_settings("pretrain", workspace, [*QUICK, *overrides]).settings, workspace)


def inspect(workspace: Workspace, *overrides: str) -> ssl_inspect_task.Inspected:
    asked = [*SMALL, "PROBE_PIXELS=500", "INSPECT_IMAGES=3", *overrides]
    return ssl_inspect_task.run(load_settings("inspect", workspace, asked).settings, workspace)


@pytest.mark.parametrize(("method", "encoder"), [("mae", "unet"), ("autoencoder", "unet"), ("mae", "test_vit")])
def test_the_report_says_whether_it_helped(
    pool: Workspace, caplog: pytest.LogCaptureFixture, method: str, encoder: str
) -> None:
    pretrain(pool, f"METHOD={method}", f"ENCODER_NAME={encoder}", "CROP_SIZE=64")
    with caplog.at_level(logging.INFO):
        found = inspect(pool, "ENCODER_NAME=resnet18")  # which network it is, the file says
    assert found.sentence in caplog.text
    assert "judged on 2 images of 2 specimens" in found.sentence
    page = found.report.read_text(encoding="utf-8")
    assert found.sentence in page
    assert page.count("data:image/jpeg") == 2 * 3
    assert "linear probe, random, seed 3" in page
    assert "怎样阅读" in page
    numbers = read_json(found.report.with_name("numbers.json"))
    assert set(numbers["probes"]) == {"linear", "neighbours"}
    assert all(0 <= score <= 1 for score in numbers["probes"]["linear"]["random"])
    assert numbers["sentence"] == found.sentence
    assert len(set(numbers["probes"]["linear"]["random"])) > 1
    assert inspect(pool).report != found.report
    assert read_json(inspect(pool).report.with_name("numbers.json")) == numbers


def test_without_labels_it_says_why_there_are_no_probes(bare: Workspace, pool: Workspace) -> None:
    for path in pool.path("data/labeled").iterdir():
        path.unlink()
    pool.path("json/splits.json").unlink()
    index_task.run(load_settings("index", pool).settings, pool)
    pretrain(pool)
    found = inspect(pool)
    assert found.sentence.startswith("Whether pretraining helped cannot be said. Probes were left out: there is no")
    assert "no labelled training and no labelled validation image; put masks into" in found.sentence
    assert read_json(found.report.with_name("numbers.json"))["probes"] is None
    assert "3 of the 3 images took part in pretraining" in found.report.read_text(encoding="utf-8")


def matrix(right: int) -> np.ndarray:
    """Two classes of 100 pixels each, of which so many are right."""
    return np.array([[right, 100 - right, 0], [100 - right, right, 0]], np.int64)


def probed(*right: int) -> Probed:
    matrices = [matrix(each) for each in right]
    return Probed({"linear": matrices, "neighbours": matrices})


@pytest.mark.parametrize(
    ("own", "random", "groups", "said"),
    [
        ((90, 92), [(80, 80), (82, 80), (80, 83)], "ab", "better"),
        ((90, 92), [(80, 80), (82, 80), (80, 83)], "aa", "not distinguishable"),  # one specimen says nothing
        ((70, 72), [(80, 80), (82, 80), (80, 83)], "ab", "worse"),
        ((81, 81), [(80, 80), (82, 80), (80, 83)], "ab", "not distinguishable"),
        ((99, 79), [(80, 80), (82, 80), (80, 83)], "ab", "not distinguishable"),  # worse on one of two specimens
        ((90, 91, 92, 90, 91), [(80,) * 5, (81,) * 5, (82,) * 5], "abcde", "better"),
        ((99, 60, 99, 60, 99), [(80,) * 5, (81,) * 5, (79,) * 5], "abcde", "not distinguishable"),
    ],
)
def test_what_counts_as_better(own: tuple[int, ...], random: list[tuple[int, ...]], groups: str, said: str) -> None:
    verdicts = judge(probed(*own), [probed(*each) for each in random], list(groups))
    assert verdicts == {"linear": said, "neighbours": said}


def test_an_encoder_that_saw_validation_images_is_not_judged_on_them(pool: Workspace) -> None:
    done = pretrain(pool)
    model = done.folder.parent / "best_ssl_model.pth"
    index = read_json(pool.path("json/master_labeled_dataset.json"))["samples"]
    judged = next(sample["sha256"] for sample in index if sample["split"] == "val")
    content = load_tensors(model)
    save_tensors(model, content | {"pretrained_on": content["pretrained_on"] | {judged: "pretrain"}})
    with pytest.raises(LeakError, match="were used to train"):
        inspect(pool)


def test_files_that_are_no_pretrained_network(pool: Workspace) -> None:
    with pytest.raises(CheckpointError, match=r"no finished pretraining in .+; run `srpu pretrain`"):
        inspect(pool)
    with pytest.raises(CheckpointError, match="SSL_MODEL_PATH: there is no file"):
        inspect(pool, "SSL_MODEL_PATH=nowhere.pth")
    done = pretrain(pool)
    with pytest.raises(CheckpointError, match=r"name its best_ssl_model\.pth, which lies beside best_ssl_encoder\.pth"):
        inspect(pool, f"SSL_MODEL_PATH={done.encoder.as_posix()}")
    model = done.folder.parent / "best_ssl_model.pth"
    save_tensors(model, load_tensors(model) | {"settings": {"METHOD": "other"}})
    with pytest.raises(CheckpointError, match="another version of SRPU"):
        inspect(pool)


def test_no_image_to_show_is_one_sentence(pool: Workspace) -> None:
    pretrain(pool)
    for name in ("labeled", "unlabeled"):
        path = pool.path(f"json/master_{name}_dataset.json")
        write_json(path, read_json(path) | {"samples": []})
    with pytest.raises(IndexingError, match="no image to show"):
        inspect(pool)
