"""Work on large images in bands of rows, so that what is computed in between takes little memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

#: Pixels of a band.
_BAND = 1 << 20


def in_bands(function: Callable[..., npt.NDArray[Any]], *images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return ``function(*images)`` for a function each row of whose result depends on the same rows of the images.

    Args:
        function: takes arrays (h, W, …) and gives one (h, …).
        images: of one height.
    """
    height = images[0].shape[0]
    rows = max(_BAND // images[0].shape[1], 1)
    if height <= rows:
        return function(*images)
    result: npt.NDArray[Any] | None = None
    for top in range(0, height, rows):
        band = function(*(image[top : top + rows] for image in images))
        if result is None:
            result = np.empty((height, *band.shape[1:]), band.dtype)
        result[top : top + rows] = band
    assert result is not None
    return result
