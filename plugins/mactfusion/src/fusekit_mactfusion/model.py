"""The model ``mactfusion``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fusekit.extend import Joint, Objectives, OptionError
from fusekit_mactfusion import convert, plugin
from fusekit_mactfusion.fast.form import InferenceForm
from fusekit_mactfusion.network import Branch, Decoder
from fusekit_mactfusion.objective import fusion_loss


class MACTFusion(Joint):
    """MACTFusion (Xie et al., JBHI 2024): an MRI first and a CT second, (B, 1, H, W) in [0, 1], any H and W.

    Args:
        statistics: ``running``: BatchNorms use what they gathered in training. ``image``: each image's own, as in the
            authors' script, which fuses in training mode.

    Raises:
        OptionError: there are no such statistics.
    """

    spec = plugin.MACTFUSION
    forms = ("plain", "composed")

    def __init__(self, statistics: str = "running") -> None:
        super().__init__()
        if statistics not in ("running", "image"):
            raise OptionError(f"unknown statistics {statistics!r}; choose running or image")
        self.statistics = statistics
        per_image = statistics == "image"
        self.mri, self.ct = Branch(per_image=per_image), Branch(per_image=per_image)
        self.decoder = Decoder()
        self._inference: InferenceForm | None = None

    @property
    def form(self) -> str:
        # BatchNorms with statistics of each image cannot be folded into convolutions.
        return "plain" if self.statistics == "image" else super().form

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        form = self._inference_form(*sources)
        if form is not None:
            return form(*sources)
        mri, ct = self.mri(sources[0]), self.ct(sources[1])
        return self.decoder(torch.cat([self.mri.cross(mri, ct), self.ct.cross(ct, mri)], dim=1))

    def _inference_form(self, *inputs: Tensor) -> InferenceForm | None:
        """Return the inference form of the weights as they are now, or ``None`` where the plain modules must run."""
        if self.runs_plain(*inputs):
            return None
        form = self._inference
        if form is None or not form.is_of(self):
            form = self._inference = InferenceForm(self, self.mri, self.ct, self.decoder)
        return form

    def __getstate__(self) -> dict[str, Any]:
        # Copies and worker processes compose their own.
        return {**self.__dict__, "_inference": None}

    def training_loss(self, sources: Sequence[Tensor], objectives: Objectives) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the authors' `fusion_loss` of the fused image; the weights of ``objectives`` are left aside."""
        return fusion_loss(sources, self.fuse_jointly(*sources))

    @classmethod
    def convert_state_dict(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return convert.from_authors(state)
