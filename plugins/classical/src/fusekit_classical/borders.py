"""Images that go on beyond their border as their own mirror image, the outermost pixel repeated, however far."""

from __future__ import annotations

import torch
from torch import Tensor


def mirrored_places(length: int, before: int, after: int, device: torch.device) -> Tensor:
    """Return which of ``length`` pixels is seen at each place of a line that is so many longer at its ends."""
    places = torch.arange(-before, length + after, device=device) % (2 * length)
    return torch.minimum(places, 2 * length - 1 - places)


def mirrored(x: Tensor, before: int, after: int, axis: int = -1) -> Tensor:
    """Extend an axis of x by its mirror image."""
    return x.index_select(axis, mirrored_places(x.shape[axis], before, after, x.device))
