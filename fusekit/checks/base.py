"""What all checks are made of: findings, images to try, and how results are compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from fusekit.errors import one_line
from fusekit.registry.contract import Component

#: Odd, even, narrow and very small sizes, height and width in pixels.
SIZES = ((24, 20), (17, 23), (3, 9), (2, 2))


class Findings:
    """What was found to be wrong with one component; each finding names it.

    Attributes:
        component: that is checked.
        found: one line a finding, in the order of the checks, each once.
    """

    def __init__(self, component: Component) -> None:
        self.component = component
        self.found: list[str] = []

    def add(self, fact: str) -> None:
        """Add a finding: what the component does wrong, as the end of a sentence that begins with its name."""
        text = f"{self.component} {fact}"
        if text not in self.found:
            self.found.append(text)

    @contextmanager
    def during(self, what: str, *allowed: type[Exception]) -> Iterator[None]:
        """Turn whatever is raised in the block into a finding.

        Args:
            what: what is tried, as in ``"with odd sizes"``.
            allowed: errors by which a component may refuse it.
        """
        try:
            yield
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            if isinstance(error, allowed):
                return
            said = one_line(error)
            own = said.removeprefix(f"{self.component} ")
            self.add(f"{own} ({what})" if own != said else f"fails {what}: {said}")


def images(count: int, batch: int, size: Sequence[int], channels: int = 1, seed: int = 0) -> list[Tensor]:
    """Return ``count`` float32 images (batch, channels, *size) of 8-bit levels in [0, 1]: slopes with noise."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number in range(count):
        slope = torch.linspace(0, 1, size[-1]).expand(batch, channels, *size)
        noise = torch.rand((batch, channels, *size), generator=generator)
        mixed = (slope if number % 2 else 1 - slope) * 0.4 + noise * 0.6
        found.append((mixed * 255).round() / 255)
    return found


def leaves(tree: Any) -> list[Tensor]:
    """Return the tensors of a tensor or of a list, tuple or dict of such."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def mapped(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """Return the tree with ``function`` applied to each of its tensors."""
    return pytree.tree_map(lambda leaf: function(leaf) if isinstance(leaf, Tensor) else leaf, tree)


def difference(found: Any, wanted: Any) -> float:
    """Return the greatest absolute difference of two trees, as a share of the greatest value or of 1.

    It is infinite where structures or shapes differ, or where only one of the two is finite.
    """
    ours, theirs = leaves(found), leaves(wanted)
    if [each.shape for each in ours] != [each.shape for each in theirs]:
        return float("inf")
    worst = 0.0
    for one, other in zip(ours, theirs, strict=True):
        one, other = one.detach().cpu().double(), other.detach().cpu().double()
        if not one.numel():
            continue
        if not torch.equal(one.isfinite(), other.isfinite()):
            return float("inf")
        scale = max(1.0, float(torch.nan_to_num(other, 0, 0, 0).abs().max()))
        worst = max(worst, float(torch.nan_to_num(one - other, 0, 0, 0).abs().max()) / scale)
    return worst


def is_finite(tree: Any) -> bool:
    """Return whether all values of a tree are finite."""
    return all(bool(leaf.isfinite().all()) for leaf in leaves(tree))


def check_unchanged(findings: Findings, before: Any, after: Any) -> None:
    """Find inputs that are not what they were."""
    if not all(torch.equal(one, other) for one, other in zip(leaves(before), leaves(after), strict=True)):
        findings.add("changes its inputs; work on copies, since others read them too")


def check_reach(
    findings: Findings,
    function: Callable[[Tensor], Any],
    image: Tensor,
    reach: int,
    multiple: int = 1,
    base: Any = None,
) -> Any:
    """Change single pixels and find changes of the result farther away than is declared.

    Args:
        findings: to be added to.
        function: of an image (1, C, H, W) to a tree of tensors (1, C', H, W).
        image: some `reach` pixels larger than 24×24, in [0, 1].
        reach: that is declared.
        multiple: windows are cut at multiples of this, so that results may also depend on the rest of such a block.
        base: what the function makes of the image, where that is known.

    Returns:
        what it makes of it.
    """
    base = function(image) if base is None else base
    # Double precision leaves rounding far below what any pixel does.
    threshold = 1e-10 if image.dtype == torch.float64 else 1e-5
    height, width = image.shape[2:]
    for spot in ((4, 7), (height - 6, width - 5)):
        other = image.clone()
        other[:, :, spot[0], spot[1]] = (other[:, :, spot[0], spot[1]] + 0.5) % 1
        for before, after in zip(leaves(base), leaves(function(other)), strict=True):
            if before.shape[2:] != image.shape[2:]:
                findings.add(
                    f"declares a reach, and gives {tuple(before.shape[2:])} pixels for {tuple(image.shape[2:])}; "
                    "leave the reach None where sizes differ"
                )
                return base
            scale = max(1.0, float(before.abs().max()))
            changed = ((after - before).abs().amax((0, 1)) > threshold * scale).nonzero()
            for axis in range(2):
                first = (changed[:, axis] - reach).div(multiple, rounding_mode="floor") * multiple
                end = (changed[:, axis] + reach).div(multiple, rounding_mode="floor") * multiple + multiple
                outside = (spot[axis] < first) | (spot[axis] >= end)
                if bool(outside.any()):
                    far = int((changed[outside][:, axis] - spot[axis]).abs().max())
                    findings.add(f"declares a reach of {reach} pixels, and one pixel changes the result {far} away")
                    return base
    return base


def check_threads(findings: Findings, function: Callable[[Any], Any], inputs: Sequence[Any]) -> None:
    """Find results that differ when two threads ask at the same time: what is kept on the object is shared by all."""
    alone = [function(each) for each in inputs]
    asked = [number % len(inputs) for number in range(8)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda number: function(inputs[number]), asked))
    if any(difference(found, alone[number]) > 1e-5 for number, found in zip(asked, together, strict=True)):
        findings.add("gives other results when two threads use it at once; keep nothing on the object between calls")


def check_json(findings: Findings, value: Any, what: str) -> None:
    """Find what JSON cannot hold."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        findings.add(f"has {what} that JSON cannot hold: {error}")


def accelerators() -> list[torch.device]:
    """Return the devices beside the CPU on which components are checked too: the CUDA device, if there is one."""
    return [torch.device("cuda")] if torch.cuda.is_available() else []


def assert_no_findings(findings: Sequence[str]) -> None:
    """Raise `AssertionError` with all findings, one a line, if there are any."""
    if findings:
        raise AssertionError("\n".join(["the contract is not kept:", *(f"- {each}" for each in findings)]))
