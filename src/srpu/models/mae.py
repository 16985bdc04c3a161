"""Masked image modelling: patches are hidden, and the network says what was there.

A vision transformer is given the visible patches alone, which is quick, and a small transformer restores the others: He
et al., Masked Autoencoders Are Scalable Vision Learners, CVPR 2022. Convolutions cannot leave places out, so they see
the whole image with its hidden patches filled: Xie et al., SimMIM, CVPR 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from srpu.errors import CheckpointError
from srpu.models.autoencoder import Autoencoder, Restored, Restorer
from srpu.models.encoders import build_encoder
from srpu.models.promise import Encoder
from srpu.models.vit import TOKEN_STRIDE, TokenPyramid

DECODER_WIDTH, DECODER_DEPTH, DECODER_HEADS = 192, 4, 6
"""The transformer that restores hidden patches; it is thrown away, so it is small."""


@dataclass(frozen=True)
class Hider:
    """Chooses the patches that are hidden.

    Attributes:
        ratio: The share of the patches, the same number in every image; at least one is hidden and one is shown.
        patch: Edge of a patch in pixels.
    """

    ratio: float
    patch: int

    def __call__(self, images: Float[Tensor, "b 1 h w"], generator: torch.Generator) -> Bool[Tensor, "b rows columns"]:
        """True where a patch is hidden; the same state of ``generator`` (on the CPU) hides the same."""
        count, rows, columns = len(images), images.shape[-2] // self.patch, images.shape[-1] // self.patch
        patches = rows * columns
        hidden = min(max(round(self.ratio * patches), 1), patches - 1)
        rank = torch.rand(count, patches, generator=generator).argsort(dim=1).argsort(dim=1)
        return (rank < hidden).reshape(count, rows, columns).to(images.device)


class MaskedImages(Autoencoder):
    """Sees images whose hidden patches hold one learned value; the loss is the mean absolute error of hidden pixels.

    ``damage`` is True where a patch is hidden, as :class:`Hider` says.
    """

    def __init__(self, encoder: Encoder, spec: dict[str, Any]) -> None:
        super().__init__(encoder, spec)
        self.fill = nn.Parameter(torch.zeros(1))

    def forward(self, images: Float[Tensor, "b 1 h w"], damage: Bool[Tensor, "b rows columns"]) -> Restored:
        """Restore the hidden patches of ``images`` from those around them."""
        hidden = functional.interpolate(damage[:, None].float(), size=images.shape[-2:], mode="nearest") > 0.5
        seen = torch.where(hidden, self.fill, images).contiguous(memory_format=torch.channels_last)
        restored = self.restore(seen)
        loss = ((restored - images).abs() * hidden).sum() / hidden.sum()
        return Restored(loss, seen.detach(), torch.where(hidden, restored, images).detach())


class MaskedTokens(Restorer):
    """Gives the visible patches to a vision transformer, and its tokens to a small one that restores the hidden ones.

    The loss is the mean squared error of the hidden patches, each normalised to mean 0 and deviation 1. ``damage`` is
    as in :class:`MaskedImages`, a patch being a token. The maps that are made of the tokens are not trained by this.
    """

    encoder: TokenPyramid

    def __init__(self, encoder: TokenPyramid, spec: dict[str, Any]) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block

        self.encoder, self.spec = encoder, spec
        encoder.requires_grad_(False)
        encoder.body.requires_grad_(True)
        self.prefix = int(encoder.body.num_prefix_tokens)  # type: ignore[arg-type]
        encoder.body.patch_drop = _Visible(self.prefix, with_indices=encoder.body.patch_drop is None)
        width = int(encoder.body.num_features)  # type: ignore[arg-type]
        self.embed = nn.Linear(width, DECODER_WIDTH)
        self.hidden_token = nn.Parameter(0.02 * torch.randn(1, 1, DECODER_WIDTH))
        self.blocks = nn.Sequential(*(Block(DECODER_WIDTH, DECODER_HEADS) for _ in range(DECODER_DEPTH)))
        self.norm = nn.LayerNorm(DECODER_WIDTH)
        self.predict = nn.Linear(DECODER_WIDTH, encoder.patch**2)

    def forward(self, images: Float[Tensor, "b 1 h w"], damage: Bool[Tensor, "b rows columns"]) -> Restored:
        """Restore the hidden patches of ``images`` from the visible ones."""
        scaled = self.encoder.for_body(images)
        patches = functional.pixel_unshuffle(scaled, self.encoder.patch).flatten(2).transpose(1, 2).float()
        hidden = damage.flatten(1)
        predicted = self._predicted(scaled, hidden, damage.shape[1:]).float()
        mean, deviation = patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + 1e-6).sqrt()
        error = (predicted - (patches - mean) / deviation).square().mean(-1)
        loss = (error * hidden).sum() / hidden.sum()
        with torch.no_grad():
            seen = patches.masked_fill(hidden[..., None], 0.0)
            restored = torch.where(hidden[..., None], predicted * deviation + mean, patches)
            return Restored(loss, self._image(seen, images), self._image(restored, images))

    def visible(self, scaled: Tensor, hidden: Bool[Tensor, "b n"]) -> tuple[Tensor, Int64[Tensor, "b v"]]:
        """The transformer's tokens (b, v, width) of the visible patches alone, and which patches these are."""
        shown = int((~hidden[0]).sum())
        keep = hidden.int().argsort(dim=1, stable=True)[:, :shown]
        drop = self.encoder.body.patch_drop
        drop.keep = keep  # type: ignore[union-attr]
        try:
            tokens: Tensor = self.encoder.body.forward_features(scaled)  # type: ignore[operator]
        finally:
            drop.keep = None  # type: ignore[union-attr]
        return tokens[:, self.prefix :], keep

    def _predicted(self, scaled: Tensor, hidden: Tensor, grid: torch.Size) -> Float[Tensor, "b n p"]:
        tokens, keep = self.visible(scaled, hidden)
        tokens = self.embed(tokens)
        every = self.hidden_token.to(tokens.dtype).expand(*hidden.shape, -1)
        every = every.scatter(1, keep[..., None].expand(-1, -1, DECODER_WIDTH), tokens)
        every = every + _places(grid[0], grid[1], DECODER_WIDTH).to(tokens)
        predicted: Tensor = self.predict(self.norm(self.blocks(every)))
        return predicted

    def _image(self, patches: Float[Tensor, "b n p"], like: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Patches put together, at the size of the images ``like``."""
        rows, columns = (side // TOKEN_STRIDE for side in like.shape[-2:])
        squares = patches.transpose(1, 2).reshape(len(patches), -1, rows, columns)
        image = functional.pixel_shuffle(squares, self.encoder.patch)
        return (
            functional.interpolate(image, size=like.shape[-2:], mode="bilinear") if image.shape != like.shape else image
        )


class _Visible(nn.Module):
    """Stands where timm drops tokens at random, and drops those that are to be hidden; without weights."""

    def __init__(self, prefix: int, with_indices: bool) -> None:
        super().__init__()
        self.prefix, self.with_indices = prefix, with_indices
        self.keep: Tensor | None = None

    def forward(self, tokens: Tensor) -> Any:
        """The prefix and the kept tokens; for families that turn positions by rotation, with the kept numbers."""
        if self.keep is not None:
            kept = self.keep[..., None].expand(-1, -1, tokens.shape[-1])
            tokens = torch.cat([tokens[:, : self.prefix], tokens[:, self.prefix :].gather(1, kept)], dim=1)
        return (tokens, self.keep) if self.with_indices else tokens


def _places(rows: int, columns: int, width: int) -> Float[Tensor, "1 n d"]:
    """Sines and cosines that tell a token's row and column; Vaswani et al., 2017, in two dimensions."""
    rates = torch.exp(torch.arange(0, width // 2, 2) * (-math.log(10_000) / (width // 2)))

    def waves(length: int) -> Tensor:
        angles = torch.arange(length)[:, None] * rates
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    down = waves(rows)[:, None].expand(rows, columns, -1)
    across = waves(columns)[None].expand(rows, columns, -1)
    return torch.cat([down, across], dim=-1).reshape(1, rows * columns, -1)


def masked(encoder: Encoder, spec: dict[str, Any]) -> Restorer:
    """Masked image modelling as the encoder allows it."""
    return MaskedTokens(encoder, spec) if isinstance(encoder, TokenPyramid) else MaskedImages(encoder, spec)


METHODS: dict[str, Callable[[Encoder, dict[str, Any]], Restorer]] = {"mae": masked, "autoencoder": Autoencoder}
"""The ways to learn from images without masks, by the names in the settings."""


def build_restorer(
    method: str, encoder_name: str, *, in_channels: int = 1, encoder_weights: str | None = None
) -> Restorer:
    """A network for the method; see :func:`srpu.models.encoders.build_encoder` for names and weights.

    Raises:
        ModelError: The encoder does not exist, or there is no internet to fetch weights.
        CheckpointError: The file of weights is unreadable or belongs to another model.
    """
    encoder = build_encoder(encoder_name, in_channels, encoder_weights)
    return METHODS[method](encoder, {"method": method, "encoder": encoder_name, "in_channels": in_channels})


def rebuild_restorer(spec: dict[str, Any]) -> Restorer:
    """The network that ``spec`` describes, with random weights.

    Raises:
        ModelError: It names an encoder that this version does not know.
        CheckpointError: It lacks an entry, or names a method that this version does not know.
    """
    if spec.get("method") not in METHODS or "encoder" not in spec:
        raise CheckpointError("The file does not say how its network was pretrained; run `srpu pretrain` again.")
    return build_restorer(spec["method"], spec["encoder"], in_channels=spec.get("in_channels", 1))
