"""What all tests share: shapes checked at run time, few threads, and a word about tests that are left out."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports numpy or torch: tests run beside each other
os.environ.setdefault("MPLBACKEND", "agg")

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# An int is a fine float: the "tower" of PEP 484.
install_import_hook(
    ["srpu.data", "srpu.models", "srpu.learn"],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

# A busy machine is slow, not wrong.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile("patient")


def _has_imagej() -> bool:
    """Whether Java, Debian's ImageJ and a virtual display are there: ImageJ opens no image without a display."""
    return all(shutil.which(program) for program in ("java", "Xvfb")) and Path("/usr/share/java/ij.jar").exists()


NEEDS = {
    "shared_data": (
        lambda: bool(os.environ.get("SRPU_DATA")),
        "set SRPU_DATA to the folder of real SEM images to run them",
    ),
    "imagej": (
        _has_imagej,
        "install ImageJ and a virtual display to run them (Debian: apt-get install imagej xvfb)",
    ),
}
"""For each marker: is what its tests need there, and what to do if it is not."""


@pytest.fixture
def shared_data() -> Path:
    """The folder of real SEM images."""
    folder = Path(os.environ["SRPU_DATA"])
    assert folder.is_dir(), f"SRPU_DATA names {folder}, which is not a folder"
    return folder


def pytest_report_header() -> list[str]:
    return [
        f"tests marked {marker} are left out: {cure}" for marker, (is_there, cure) in NEEDS.items() if not is_there()
    ]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for marker, (is_there, _) in NEEDS.items():
        lacking = [item for item in items if item.get_closest_marker(marker)]
        if lacking and not is_there():
            config.hook.pytest_deselected(items=lacking)
            items[:] = [item for item in items if item not in lacking]
