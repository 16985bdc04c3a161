"""Pretrained weights that timm fetches from the internet."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from srpu.errors import ModelError

log = logging.getLogger(__name__)


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
