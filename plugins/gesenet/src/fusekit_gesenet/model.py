"""The model ``gesenet``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fusekit.extend import Joint, Objectives
from fusekit_gesenet import convert, plugin
from fusekit_gesenet.branch import Branch
from fusekit_gesenet.form import InferenceForm
from fusekit_gesenet.fusion import Decoder, Refinement
from fusekit_gesenet.objective import fusion_loss


class GeSeNet(Joint):
    """GeSeNet (Li et al., TNNLS 2023): a CT, PET or SPECT first and an MRI second, (B, 1, H, W) in [0, 1], any H and W.

    In evaluation mode both kinds of masks are hard, and the same sources give the same image. In training mode they are
    Gumbel-softmax samples, as in the authors' script, which fuses in that mode.
    """

    spec = plugin.GESENET
    forms = ("plain", "composed")

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Branch(), Branch()
        self.refinement = Refinement()
        self.decoder = Decoder()
        self._inference: InferenceForm | None = None

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        form = self._inference_form(*sources)
        if form is not None:
            return form(*sources)
        first_edges, first = self.first(sources[0])
        second_edges, second = self.second(sources[1])
        refined = self.refinement(torch.cat([first, second], dim=1), second_edges)
        return self.decoder(torch.cat([refined, first_edges], dim=1))

    def _inference_form(self, *inputs: Tensor) -> InferenceForm | None:
        """Return the inference form of the weights as they are now, or ``None`` where the plain modules must run."""
        if self.runs_plain(*inputs):
            return None
        form = self._inference
        if form is None or not form.is_of(self):
            form = self._inference = InferenceForm(self, self.first, self.second, self.refinement, self.decoder)
        return form

    def __getstate__(self) -> dict[str, Any]:
        # Copies and worker processes compose their own.
        return {**self.__dict__, "_inference": None}

    def training_loss(self, sources: Sequence[Tensor], objectives: Objectives) -> tuple[Tensor, dict[str, Tensor]]:
        """Return `fusion_loss` of the fused image; the weights of ``objectives`` are left aside."""
        return fusion_loss(sources, self.fuse_jointly(*sources))

    @classmethod
    def convert_state_dict(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return convert.from_authors(state)
