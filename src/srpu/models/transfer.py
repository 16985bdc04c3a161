"""Carry weights over into another network, and account for every one of them."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from srpu.errors import CheckpointError
from srpu.models.promise import Encoder
from srpu.models.weights import Weights, read_weights

log = logging.getLogger(__name__)

WRAPPED = re.compile(r"^((module|model|_orig_mod)\.)+")
"""What training programs put before the names of a whole model's weights."""

PREFIXES = re.compile(r"^((module|model|_orig_mod|encoder|backbone|body)\.)+")
"""The same for an encoder's."""

NOT_WEIGHTS = "num_batches_tracked"
"""A counter that old files lack and nothing needs."""

HEAD = ("head.weight", "head.bias")
"""The only weights of a segmenter whose shape depends on the classes."""


@dataclass(frozen=True)
class Transfer:
    """What arrived from a file, by the names of our own weights.

    Attributes:
        path: The file.
        part: "model" or "encoder", what was to arrive.
        loaded: Weights that now come from the file.
        missing: Weights that the file does not have; they stay random.
        unexpected: Weights of the file that nothing here is called like.
        mismatched: Weights of another shape there.
        notes: What was fitted on the way, in sentences without full stop.
        share: The share of parameters that comes from the file, in [0, 1].
    """

    path: Path
    part: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    share: float = 1.0
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What else the file holds, see :class:`srpu.models.weights.Weights`."""

    def state(self) -> dict[str, Any]:
        """Plain values, for a manifest."""
        names = ("loaded", "missing", "unexpected", "mismatched")
        counts = {name: len(getattr(self, name)) for name in names}
        lists = {f"{name}_names": list(getattr(self, name)) for name in names[1:]}
        return {
            "path": str(self.path),
            "part": self.part,
            "share": self.share,
            **counts,
            **lists,
            "notes": [*self.notes],
        }

    def report(self) -> None:
        """Log it; a warning where more than a tenth is missing, which what we add around a transformer never is."""
        log.log(
            logging.WARNING if self.share < 0.9 else logging.INFO,
            "%s weights from %s: %d of %d tensors loaded, %.1f %% of the parameters; %d missing%s, %d unexpected%s, "
            "%d of another shape%s.",
            self.part.capitalize(),
            self.path,
            len(self.loaded),
            len(self.loaded) + len(self.missing) + len(self.mismatched),
            100 * self.share,
            *_counted(self.missing),
            *_counted(self.unexpected),
            *_counted(self.mismatched),
        )
        for note in self.notes:
            log.info("%s.", note)
        parts = {name.partition(".")[0] for name in map(_bare, self.loaded) if "." in name}
        if deeper := [name for name in self.unexpected if _bare(name).partition(".")[0] in parts - {"head", "decoder"}]:
            log.warning(
                "The file holds more of the same kind than this network has (%s): it may belong to a deeper one; see "
                "ENCODER_NAME.",
                _some(deeper),
            )


def transfer_encoder(encoder: Encoder, path: Path, name: str = "") -> Transfer:
    """Load every weight of ``path`` whose name fits ``encoder``.

    Reads timm's and torchvision's files, the official DINOv2 ones, and our own, whole models included. A first layer
    for colour is summed over its channels, which is what three equal channels would give, and one for grey is spread
    evenly over three; a position embedding is resampled.

    Args:
        encoder: Changed in place.
        path: The file.
        name: What ENCODER_NAME calls it; a file of ours that names another is refused.

    Raises:
        CheckpointError: The file cannot be read, no name matches, or a matching weight has another shape.
    """
    weights = read_weights(path)
    spec = weights.facts.get("model")
    theirs = spec.get("encoder") if isinstance(spec, Mapping) else weights.facts.get("encoder")
    if name and isinstance(theirs, str) and theirs != name:
        raise CheckpointError(
            f"{path} holds a {theirs} encoder, not {name}: set ENCODER_NAME = {theirs!r}, or take another file."
        )
    notes = []
    tensors = weights.tensors
    ours_alone = {name: value for name, value in tensors.items() if WRAPPED.sub("", name).startswith("encoder.")}
    if ours_alone and len(ours_alone) < len(tensors):
        notes.append(f"{path} holds a whole model; only its encoder was taken")
        tensors = ours_alone
    return _load(encoder, weights, tensors, PREFIXES, notes)


def transfer_model(model: nn.Module, spec: Mapping[str, Any], path: Path, classes: Sequence[str] = ()) -> Transfer:
    """Load a whole model: encoder, decoder and, for each class that the file knows by name, the head's row.

    Args:
        model: A segmenter; changed in place.
        spec: What it says of itself, see :class:`srpu.models.segmenter.Segmenter`.
        path: A file of ours, or any with the same names.
        classes: What the channels of ``model`` mean, to find the rows of the head by name.

    Raises:
        CheckpointError: The file cannot be read, holds an encoder only, or belongs to another architecture.
    """
    weights = read_weights(path)
    tensors = {WRAPPED.sub("", name): value for name, value in weights.tensors.items()}
    if weights.facts.get("kind") == "ssl_encoder" or not any(not _of_encoder(name) for name in tensors):
        raise CheckpointError(
            f"{path} holds an encoder only, and a whole model is needed here: name it as PRETRAINED_ENCODER_PATH "
            "instead."
        )
    _refuse_other_network(weights, spec)
    notes: list[str] = []
    theirs, shrink = weights.facts.get("model"), spec.get("shrink", 1)
    if isinstance(theirs, Mapping) and theirs.get("shrink", 1) != shrink:
        notes.append(f"The file was trained with SHRINK = {theirs.get('shrink', 1)}, here it is {shrink}")
    fitted = _fit_head(tensors, weights.facts.get("classes"), model, classes, notes)
    transfer = _load(model, weights, fitted, WRAPPED, notes)
    if all(map(_of_encoder, transfer.loaded)):
        raise CheckpointError(
            f"{path} has another decoder than {spec['decoder']}, only its encoder fits: name it as "
            "PRETRAINED_ENCODER_PATH instead, or set DECODER_NAME to the model that the file was made with."
        )
    return transfer


def _load(
    module: nn.Module,
    weights: Weights,
    tensors: Mapping[str, Tensor],
    prefixes: re.Pattern[str],
    notes: list[str],
) -> Transfer:
    part = "encoder" if isinstance(module, Encoder) else "model"
    theirs = {_plain(key, prefixes): (key, value) for key, value in tensors.items()}
    ours = dict(module.state_dict())
    loaded: dict[str, Tensor] = {}
    others: dict[str, tuple[str, Tensor]] = {}
    for key, value in ours.items():
        if (plain := _plain(key, prefixes)) not in theirs:
            continue
        their_key, their_value = theirs[plain]
        fitted = _fit(their_key, their_value, value, notes)
        if fitted.shape == value.shape:
            loaded[key] = fitted
        else:
            others[key] = (their_key, their_value)
    path = weights.path
    mismatched = tuple(key for key in others if key in HEAD)
    if strange := [key for key in others if key not in HEAD]:
        their_key, value = others[key := strange[0]]
        raise CheckpointError(
            f"{path} belongs to another model: {len(strange)} of its weights have another shape, {their_key} "
            f"{tuple(value.shape)} there and {tuple(ours[key].shape)} here; set ENCODER_NAME and DECODER_NAME to the "
            "model that the file was made with."
        )
    if not loaded:
        cure = "ENCODER_NAME to the model that the file was made with"
        if part == "model":
            cure = "ENCODER_NAME and DECODER_NAME so, or name it as PRETRAINED_ENCODER_PATH if it is an encoder"
        raise CheckpointError(
            f"{path} holds no weights for this {part}: it has {_some(weights.tensors)}, wanted are {_some(ours)}; set "
            f"{cure}."
        )
    if broken := [key for key, value in loaded.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise CheckpointError(
            f"{path} holds numbers that are none (NaN) in {_some(broken)}: its training went wrong; take another."
        )
    module.load_state_dict(loaded, strict=False)
    used = {_plain(key, prefixes) for key in (*loaded, *others)}
    ours = {key: value for key, value in ours.items() if not key.endswith(NOT_WEIGHTS)}
    loaded = {key: value for key, value in loaded.items() if key in ours}
    counted = {key: value.numel() for key, value in ours.items()}
    return Transfer(
        path,
        part,
        tuple(loaded),
        tuple(key for key in ours if key not in loaded and key not in others),
        tuple(key for plain, (key, _) in theirs.items() if plain not in used and not key.endswith(NOT_WEIGHTS)),
        mismatched,
        tuple(notes),
        sum(counted[key] for key in loaded) / sum(counted.values()),
        weights.facts,
    )


def _refuse_other_network(weights: Weights, wanted: Mapping[str, Any]) -> None:
    """Stop where a file of ours says that it is another network, before any name is compared."""
    spec = weights.facts.get("model")
    for part in ("encoder", "decoder"):
        if isinstance(spec, Mapping) and wanted.get(part) and spec.get(part) not in (None, wanted[part]):
            raise CheckpointError(
                f"{weights.path} is a {spec.get('encoder')} + {spec.get('decoder')}, not {wanted['encoder']} + "
                f"{wanted['decoder']}: set {part.upper()}_NAME = {spec[part]!r}, or take another file."
            )


def _of_encoder(name: str) -> bool:
    return name.startswith(("encoder.", "backbone."))


def _fit_head(
    tensors: Mapping[str, Tensor], known: Any, model: nn.Module, classes: Sequence[str], notes: list[str]
) -> dict[str, Tensor]:
    """The tensors with a head for ``classes``: rows are found by the classes' names; what is new stays random.

    A file that names no classes is taken to mean ours if it has as many.
    """
    head = {name: tensors[name] for name in HEAD if name in tensors}
    ours = {name: model.state_dict()[name] for name in HEAD}
    if HEAD[0] not in head:
        return dict(tensors)
    count, wanted = len(head[HEAD[0]]), len(ours[HEAD[0]])
    known = [str(name) for name in known or ()]
    if (known or list(classes)) == list(classes) and count == wanted:
        return dict(tensors)
    kept = [name for name in classes if name in known]
    if not kept or len(known) != count or any(head[name].shape[1:] != ours[name].shape[1:] for name in head):
        theirs = f"{count} classes" + (f" ({', '.join(known)})" if known else "")
        here = f"{wanted}" + (f" ({', '.join(classes)})" if classes else "")
        notes.append(f"The file tells {theirs} apart, here there are {here}: the head starts anew")
        return {name: value if name not in HEAD else value[:0] for name, value in tensors.items()}
    fitted = dict(tensors)
    for name, value in head.items():
        fitted[name] = ours[name].clone()
        for row, of in enumerate(classes):
            if of in known:
                fitted[name][row] = value[known.index(of)]
    new = [name for name in classes if name not in known]
    told = f", {', '.join(new)} {'starts' if len(new) == 1 else 'start'} anew" if new else ""
    notes.append(f"The head keeps what the file knows of {', '.join(kept)}{told}")
    return fitted


def _bare(key: str) -> str:
    return PREFIXES.sub("", key)


def _plain(key: str, prefixes: re.Pattern[str]) -> str:
    """A weight's name without wrappers; timm's feature extractors write ``stages_0`` for ``stages.0``.

    >>> _plain("module.encoder.stages.0.conv.weight", PREFIXES) == _plain("body.stages_0.conv.weight", PREFIXES)
    True
    """
    return prefixes.sub("", key).replace(".", "_")


def _fit(name: str, theirs: Tensor, ours: Tensor, notes: list[str]) -> Tensor:
    """``theirs``, between grey and colour or resampled as a position embedding where that is the difference."""
    if theirs.ndim == ours.ndim == 4 and theirs.shape[::2] == ours.shape[::2]:
        if (theirs.shape[1], ours.shape[1]) == (3, 1):
            notes.append(f"{name} was summed from three channels to one")
            return theirs.sum(dim=1, keepdim=True)
        if (theirs.shape[1], ours.shape[1]) == (1, 3):
            notes.append(f"{name} was spread from one channel over three")
            return theirs.expand(ours.shape) / 3
    if theirs.ndim == 3 and ours.ndim == 3 and theirs.shape[1] != ours.shape[1] and theirs.shape[2] == ours.shape[2]:
        from timm.layers.pos_embed import resample_abs_pos_embed

        side = math.isqrt(ours.shape[1])
        fitted: Tensor = resample_abs_pos_embed(theirs, [side, side], num_prefix_tokens=ours.shape[1] - side**2)
        notes.append(f"{name} was resampled to {side} × {side} patches")
        return fitted
    return theirs


def _counted(names: Sequence[str]) -> tuple[int, str]:
    return len(names), f" ({_some(names)})" if names else ""


def _some(names: Iterable[str]) -> str:
    """The first three names and how many more.

    >>> _some(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    names = list(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
