"""Where an encoder starts: weights from a file, or fetched by timm. What matched is always said."""

from __future__ import annotations

import logging
import math
import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from srpu.errors import CheckpointError, ModelError
from srpu.models.promise import Encoder

log = logging.getLogger(__name__)

WRAPPERS = ("model_state_dict", "state_dict", "model", "teacher", "student")
"""Entries under which training programs keep the weights."""

PREFIXES = re.compile(r"^((module|model|encoder|backbone|body)\.)+")
"""What training programs put before the names of an encoder's weights."""

NOT_WEIGHTS = "num_batches_tracked"
"""A counter that old files lack and nothing needs."""


def load_encoder_weights(encoder: Encoder, path: Path) -> None:
    """Load every weight of ``path`` whose name fits ``encoder``; say how many did.

    Reads timm's and torchvision's files, the official DINOv2 ones and our own checkpoints. A first layer for colour is
    summed over its channels, which is what three equal channels would give; a position embedding is resampled.

    Raises:
        CheckpointError: The file cannot be read, no name matches, or a matching weight has another shape.
    """
    theirs = {_plain(key): (key, value) for key, value in read_weights(path).items()}
    ours = {key: value for key, value in encoder.state_dict().items() if not key.endswith(NOT_WEIGHTS)}
    matched = {}
    for key, value in ours.items():
        if _plain(key) in theirs:
            their_key, their_value = theirs[_plain(key)]
            matched[key] = _fit(their_value, value)
            if matched[key].shape != value.shape:
                raise CheckpointError(
                    f"{path} belongs to another model: {their_key} has the shape {tuple(their_value.shape)} there and"
                    f" {tuple(value.shape)} here; set ENCODER_NAME to the model that the file was made with."
                )
    if not matched:
        raise CheckpointError(
            f"{path} holds no weights for this encoder: it has {_some(key for key, _ in theirs.values())}, wanted are"
            f" {_some(ours)}; set ENCODER_NAME to the model that the file was made with."
        )
    encoder.load_state_dict(matched, strict=False)
    used = set(map(_plain, matched))
    _report(path, ours, matched, unused=[key for plain, (key, _) in theirs.items() if plain not in used])


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors in a ``.safetensors`` file or a torch file, by name.

    Raises:
        CheckpointError: No such file, unreadable, or it holds more than tensors and plain values.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise CheckpointError(f"ENCODER_WEIGHTS: there is no file {path}; give None, 'imagenet', a timm tag or a file.")
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be read as weights: it is damaged, of another format, or holds more than tensors and plain"
            " values and is refused as unsafe; save the model's state_dict and use that file."
        ) from error
    while isinstance(content, Mapping) and (key := next((k for k in WRAPPERS if k in content), None)):
        content = content[key]
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not named weights; save a state_dict.")
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


@contextmanager
def fetching(name: str, model: str, weights: str) -> Iterator[str]:
    """Hand out the timm tag that ``weights`` means for ``model``; fetch inside the block.

    The connection is tried once beforehand: the download itself would retry for a minute or more.

    Raises:
        ModelError: timm has no such weights, or they cannot be fetched.
    """
    import timm
    from huggingface_hub import HfApi, errors, try_to_load_from_cache

    tags = [found.partition(".")[2] for found in timm.list_pretrained(f"{model}.*")]
    config = timm.models.get_pretrained_cfg(f"{model}.{weights}" if weights in tags else model)
    tag = config.tag if config else None
    if config is None or tag not in tags or weights not in {"imagenet", tag}:
        others = {found.partition(".")[0] for found in timm.list_pretrained()}
        offers = ["imagenet", *tags] if tags else [f"some for {' and '.join(get_close_matches(model, others, n=2))}"]
        raise ModelError(
            f"ENCODER_WEIGHTS = {weights!r}: timm has no such weights for {name!r}, but {', '.join(offers)}; None and"
            " the path of a file work too."
        )
    try:
        files = ("model.safetensors", "pytorch_model.bin")
        where = config.hf_hub_id
        if where and not any(isinstance(try_to_load_from_cache(where, file), str) for file in files):
            HfApi().model_info(where, timeout=10)
        yield tag
        log.info("The encoder starts from the pretrained weights %s.%s.", model, tag)
    except (OSError, errors.HTTPError) as error:  # type: ignore[attr-defined]  # of whichever HTTP library it uses
        raise ModelError(
            f"ENCODER_WEIGHTS = {weights!r}: fetching {model}.{tag} needs internet, which does not answer"
            f" ({type(error).__name__}); set the environment variable HF_ENDPOINT to a mirror that you can reach, or"
            " give the path of a file that you downloaded elsewhere, or None."
        ) from error


def _plain(key: str) -> str:
    """A weight's name without wrappers; timm's feature extractors write ``stages_0`` for ``stages.0``.

    >>> _plain("module.encoder.stages.0.conv.weight") == _plain("body.stages_0.conv.weight")
    True
    """
    return PREFIXES.sub("", key).replace(".", "_")


def _fit(theirs: Tensor, ours: Tensor) -> Tensor:
    """``theirs``, summed from colour to grey or resampled as a position embedding where that is the difference."""
    if theirs.ndim == 4 and ours.shape == (theirs.shape[0], 1, *theirs.shape[2:]):
        return theirs.sum(dim=1, keepdim=True)
    if theirs.ndim == 3 and ours.ndim == 3 and theirs.shape[1] != ours.shape[1] and theirs.shape[2] == ours.shape[2]:
        from timm.layers.pos_embed import resample_abs_pos_embed

        side = math.isqrt(ours.shape[1])
        fitted: Tensor = resample_abs_pos_embed(theirs, [side, side], num_prefix_tokens=ours.shape[1] - side**2)
        return fitted
    return theirs


def _report(path: Path, ours: Mapping[str, Tensor], matched: Mapping[str, Tensor], unused: list[str]) -> None:
    """One line; a warning where the file lacks more than a tenth, which what we add around a transformer never is."""
    missing = [key for key in ours if key not in matched]
    share = sum(ours[key].numel() for key in matched) / sum(value.numel() for value in ours.values())
    log.log(
        logging.WARNING if share < 0.9 else logging.INFO,
        "Encoder weights from %s: %d of %d tensors matched, %.1f %% of the parameters%s%s.",
        path,
        len(matched),
        len(ours),
        100 * share,
        f"; random stay {_some(missing)}" if missing else "",
        f"; not used from the file are {_some(unused)}" if unused else "",
    )


def _some(names: Any) -> str:
    """The first three names and how many more.

    >>> _some(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    names = list(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
