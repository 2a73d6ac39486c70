"""The models ``ifcnn``, ``ifcnn-mean`` and ``ifcnn-sum``: one network, trained with three rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fusekit.extend import ComposableEncoderDecoder, Objectives, Reach
from fusekit_ifcnn import composed, convert, plugin
from fusekit_ifcnn.defocus import defocused_pair
from fusekit_ifcnn.network import CHANNELS, Decoder, Encoder


class IFCNN(ComposableEncoderDecoder):
    """IFCNN trained with the maximum (Zhang et al., Information Fusion 54, 2020).

    Sources are (B, 1, H, W) in [0, 1], 8-bit values divided by 255; any H and W of 2 or more.

    Args:
        channels: of the features; the authors' 64.
    """

    spec = plugin.IFCNN

    encoder: Encoder
    decoder: Decoder

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(channels), Decoder(channels)

    @property
    def reach(self) -> Reach:
        return Reach(self.encoder.reach, self.decoder.reach, working=2.0 if self.form == "composed" else 4.0)

    def composed_encode(self, x: Tensor) -> Tensor:
        return composed.encode(self.encoder, x)

    def composed_decode(self, features: Tensor) -> Tensor:
        return composed.decode(self.decoder, features)

    def training_loss(self, sources: Sequence[Tensor], objectives: Objectives) -> tuple[Tensor, dict[str, Tensor]]:
        """Return how far the fusion of a pair out of focus is from the sharp image, in red, green and blue.

        The pair is made of each image (`fusekit_ifcnn.defocus`) and fused by the model's default rule. Without
        gradients, as in validation, it is always the same pair.
        """
        x = torch.cat(list(sources))
        drawn = None if torch.is_grad_enabled() else torch.Generator().manual_seed(0)
        features = self.encode_sources(defocused_pair(x, drawn))
        colors = self.decoder.colors(self.choose_rule(None).apply(features).features)
        return objectives.reconstruction(x.repeat_interleave(3, 0), colors.flatten(0, 1)[:, None])

    @classmethod
    def convert_state_dict(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return convert.from_authors(state)


class IFCNNMean(IFCNN):
    """IFCNN trained with the mean of the features."""

    spec = plugin.IFCNN_MEAN


class IFCNNSum(IFCNN):
    """IFCNN trained with the sum of the features."""

    spec = plugin.IFCNN_SUM
