"""What a fusion metric is, and its three kinds: of the fused image alone, source by source, of all sources at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from fusekit.errors import InputError, PluginError


class Metric:
    """Rates a fused image, given its N ≥ 1 sources.

    Images are tensors (B, 1, H, W) of floats in [0, 1], with H, W ≥ 2; metrics that are defined on 8-bit grey levels
    scale by 255 themselves. No metric returns NaN; what it returns for degenerate images stands at its class.

    Subclasses derive from `FusedMetric`, `SourceMetric` or `AllSourcesMetric`. What its registration says of a metric,
    `fusekit.metrics.build.build_metric` sets on the one that it builds; it is empty on one built by hand.

    Attributes:
        name: the name that it is registered under.
        direction: ``"higher"`` or ``"lower"``, whichever values are better.
        citation: the paper that defines it.
        range: least and greatest possible value of one comparison; ``inf`` is allowed.
        data_range: the scale of grey values that it computes on.
        combine: ``"mean"`` or ``"sum"`` over the sources, ``"all at once"``, or ``"fused only"``.
        look_alikes: other definitions in use under its name, and how their values differ.
    """

    name: str = ""
    direction: str = ""
    citation: str = ""
    range: ClassVar[tuple[float, float]]
    data_range: ClassVar[str]
    combine: ClassVar[str]
    look_alikes: ClassVar[str]

    def rate(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return one value an image, (B,), and the sources' own values, (N, B), or ``None`` where there are none.

        Args:
            sources: N tensors (B, 1, H, W).
            fused: a tensor of that shape.

        Raises:
            InputError: the shapes differ or are not those of images, or the metric is not defined for N sources.
        """
        raise NotImplementedError(f"{type(self).__name__} must define rate(sources, fused)")

    @property
    def title(self) -> str:
        """What messages call it: ``the metric 'ssim'``, or by its class where it has no name."""
        return f"the metric {self.name!r}" if self.name else f"the metric {type(self).__name__}"

    def check(self, sources: Sequence[Tensor], fused: Tensor) -> None:
        """Raise `InputError` unless there are sources, and all images are of one shape."""
        if not sources:
            raise InputError(f"{self.title} compares with the sources; give at least one")
        check_images(sources, fused)

    def worst_of(self, values: Tensor) -> Tensor:
        """Return the worst of the sources' own values by `direction`: (N, B) → (B,).

        Raises:
            PluginError: the metric was built by hand and has no direction.
        """
        if self.direction not in ("higher", "lower"):
            raise PluginError(
                f"{self.title} does not know which values are better; build it by its registered name with "
                'fusekit.extend.build_metric(name), or set its attribute direction to "higher" or "lower"'
            )
        return values.amax(0) if self.direction == "lower" else values.amin(0)

    def __call__(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        """Return one value an image, (B,); arguments and errors as for `rate`."""
        return self.rate(sources, fused)[0]


class FusedMetric(Metric):
    """A metric that looks at the fused image only. Subclasses define `measure`."""

    combine = "fused only"

    def measure(self, fused: Tensor) -> Tensor:
        """Rate the fused image alone: (B, 1, H, W) → (B,)."""
        raise NotImplementedError(f"{type(self).__name__} must define measure(fused)")

    def rate(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor | None]:
        check_images(sources, fused)
        return self.measure(fused), None


class SourceMetric(Metric):
    """A metric that compares the fused image with each source. Subclasses define `compare`."""

    combine = "mean"

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        """Compare the fused image with one source: two (B, 1, H, W) → (B,)."""
        raise NotImplementedError(f"{type(self).__name__} must define compare(source, fused)")

    def per_source(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        """Return the comparison with each source: (N, B).

        Raises:
            InputError: there is no source, or the shapes differ or are not those of images.
        """
        self.check(sources, fused)
        return torch.stack([self.compare(source, fused) for source in sources])

    def combined(self, values: Tensor) -> Tensor:
        """Combine the values of `per_source`, (N, B) → (B,), by sum or mean as `combine` says."""
        return values.sum(0) if self.combine == "sum" else values.mean(0)

    def worst(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        """Return the value of the source that the fused image serves worst: (B,)."""
        return self.worst_of(self.per_source(sources, fused))

    def rate(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor | None]:
        values = self.per_source(sources, fused)
        return self.combined(values), values


class TogetherMetric(SourceMetric):
    """A metric that compares with all sources in one go, to share work. Subclasses define `compare_all`."""

    def compare_all(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        """Compare the fused image with each of N checked sources, (B, 1, H, W) each → (N, B)."""
        raise NotImplementedError(f"{type(self).__name__} must define compare_all(sources, fused)")

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return self.compare_all([source], fused)[0]

    def per_source(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        self.check(sources, fused)
        return self.compare_all(sources, fused)


class AllSourcesMetric(Metric):
    """A metric that weighs all sources against each other. Subclasses define `measure`, also for one source.

    Attributes:
        max_sources: the most sources that its definition extends to; ``None`` for any number.
    """

    combine = "all at once"
    max_sources: ClassVar[int | None] = None

    def check(self, sources: Sequence[Tensor], fused: Tensor) -> None:
        """Raise `InputError` also for more sources than `max_sources`."""
        super().check(sources, fused)
        if self.max_sources is not None and len(sources) > self.max_sources:
            raise InputError(
                f"{self.title} is defined for {self.max_sources} sources, and {len(sources)} were given; "
                "rate pairs of them"
            )

    def measure(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        """Rate the fused image against N checked sources: (B, 1, H, W) each → (B,)."""
        raise NotImplementedError(f"{type(self).__name__} must define measure(sources, fused)")

    def per_source(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor | None:
        """Return what the metric says of each source as if it were the only one: (N, B).

        Subclasses return ``None`` where that has no meaning.
        """
        return torch.stack([self.measure([source], fused) for source in sources])

    def rate(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor | None]:
        self.check(sources, fused)
        return self.measure(sources, fused), self.per_source(sources, fused)


class SharedWorkMetric(AllSourcesMetric):
    """A metric whose value for all sources and for each alone come from one computation. Subclasses define `both`."""

    def both(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor]:
        """Rate against N checked sources, (B, 1, H, W) each: the value, (B,), and each source's own, (N, B)."""
        raise NotImplementedError(f"{type(self).__name__} must define both(sources, fused)")

    def measure(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        return self.both(sources, fused)[0]

    def per_source(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        return self.both(sources, fused)[1]

    def rate(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor | None]:
        self.check(sources, fused)
        return self.both(sources, fused)


def check_images(sources: Sequence[Tensor], fused: Tensor) -> None:
    """Check that all are (B, 1, H, W) of one shape, with H, W ≥ 2.

    Raises:
        InputError: they are not; the message names the shapes.
    """
    shape = tuple(fused.shape)
    if len(shape) != 4 or shape[1] != 1 or min(shape[2:]) < 2:
        raise InputError(f"metrics take images (batch, 1, height, width) of at least 2×2 pixels, not {shape}")
    for source in sources:
        if source.shape != fused.shape:
            raise InputError(f"a source has shape {tuple(source.shape)}, the fused image {shape}; they must be equal")
