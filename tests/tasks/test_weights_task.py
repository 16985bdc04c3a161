"""Weights out of other programs' files, as a user asks for them."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torch import nn

from srpu.errors import CheckpointError, WorkspaceError
from srpu.models.weights import read_weights
from srpu.tasks import weights_task


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_trusted_file_is_converted_and_then_read_safely(tmp_path: Path, suffix: str) -> None:
    old, new = tmp_path / "old.pth", tmp_path / f"new{suffix}"
    layer = nn.Linear(3, 2)
    torch.save({"state_dict": layer.state_dict(), "args": Namespace(lr=1), "epoch": 7}, old)
    with pytest.raises(CheckpointError, match=r"argparse\.Namespace"):
        weights_task.convert(old, new, trust=False)
    assert not new.exists()
    weights_task.convert(old, new, trust=True)
    again = read_weights(new)
    assert torch.equal(again.tensors["weight"], layer.weight)
    assert again.facts == ({"epoch": 7} if suffix == ".pth" else {})


def test_a_whole_pickled_module_is_converted(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(3, 2)), tmp_path / "module.pth")
    weights_task.convert(tmp_path / "module.pth", tmp_path / "new.pth", trust=True)
    assert list(read_weights(tmp_path / "new.pth").tensors) == ["0.weight", "0.bias"]


def test_nothing_is_overwritten_and_other_formats_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "old.pth")
    with pytest.raises(WorkspaceError, match="is there already"):
        weights_task.convert(tmp_path / "old.pth", tmp_path / "old.pth", trust=False)
    with pytest.raises(WorkspaceError, match="of no known format"):
        weights_task.convert(tmp_path / "old.pth", tmp_path / "new.onnx", trust=False)
    with pytest.raises(CheckpointError, match="There is no file"):
        weights_task.convert(tmp_path / "none.pth", tmp_path / "new.pth", trust=True)
