"""Probes find what lies in features, and nothing else; pictures of features have the images' shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from srpu.learn.pretrained import measure_statistics
from srpu.learn.probe import component_pictures, features_at, linear_probe, neighbour_probe
from srpu.models.encoders import build_encoder


def clouds(apart: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(3, (300,), generator=generator)
    return torch.randn(300, 8, generator=generator) + apart * torch.eye(3, 8)[classes], classes


@pytest.mark.parametrize(("apart", "low", "high"), [(8.0, 0.98, 1.0), (0.0, 0.2, 0.47)])
def test_probes_tell_classes_apart_where_features_do(apart: float, low: float, high: float) -> None:
    known, truth = clouds(apart, 0)
    asked, wanted = clouds(apart, 1)
    for answer in (linear_probe(known, truth, asked, 3), neighbour_probe(known, truth, asked, 3, neighbours=10)):
        assert low <= (answer == wanted.numpy()).mean() <= high


def test_features_of_a_pixel_are_those_of_its_place() -> None:
    encoder = build_encoder("unet").eval()
    images = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        finest = encoder(images)[0]
    column, row = 5, 20
    place = torch.tensor([[(2 * column + 1) / 32 - 1, (2 * row + 1) / 32 - 1]]).expand(2, 1, 2)
    found = features_at(encoder, images, place)
    assert found.shape == (2, 1, sum(encoder.out_channels))
    torch.testing.assert_close(found[:, 0, :32], finest[:, :, row, column])


def test_statistics_are_those_of_the_images_and_momentum_stays() -> None:
    layer = nn.BatchNorm2d(1, momentum=0.3)
    batches = [torch.full((2, 1, 4, 4), 3.0), torch.full((2, 1, 4, 4), 5.0)]
    measure_statistics(nn.Sequential(layer), batches, torch.device("cpu"))
    assert layer.running_mean is not None
    assert layer.running_mean.item() == pytest.approx(4.0)
    assert layer.momentum == 0.3
    assert not layer.training
    measure_statistics(nn.Conv2d(1, 1, 1), batches, torch.device("cpu"))  # nothing to measure


def test_pictures_of_features_show_what_is_alike() -> None:
    encoder = build_encoder("unet")
    images = torch.zeros(2, 1, 64, 96)
    images[..., 48:] = 1.0
    first, second = component_pictures(encoder, images)
    assert first.shape == (16, 24, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert np.abs(first[8, 6].astype(int) - first[8, 18].astype(int)).sum() > 30
