"""Devices and number formats."""

import pytest
import torch

from srpu.errors import SettingsError
from srpu.learn.device import autocast, choose_device, choose_precision

CPU = torch.device("cpu")


def test_auto_is_a_device_that_works() -> None:
    assert torch.zeros(1, device=choose_device("auto")).item() == 0


@pytest.mark.parametrize("name", ["gpu", "cuda:77"])
def test_a_device_that_is_not_here_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=f'DEVICE = "{name}"'):
        choose_device(name)


def test_a_named_precision_is_taken() -> None:
    assert choose_precision("fp32", CPU) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"
    assert choose_precision("auto", CPU) in ("bf16", "fp32")


def test_autocast_computes_in_that_format() -> None:
    a = torch.ones(2, 2)
    with autocast(CPU, "bf16"):
        assert (a @ a).dtype == torch.bfloat16
    with autocast(CPU, "fp32"):
        assert (a @ a).dtype == torch.float32
