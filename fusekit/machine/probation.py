"""Kernels on probation: each family of them runs beside its plain torch twin before anything relies on it.

What came of it, the verdict, holds for one device, driver and version of everything that takes part, its key. It is
kept in memory and in the user's cache folder; where that cannot be written, each process proves anew.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from fusekit.errors import DeviceError, OutputError, one_line
from fusekit.machine.devices import device_name, driver_version, exact_float32
from fusekit.machine.files import cache_folder, write_text_atomically
from fusekit.machine.memory import is_out_of_memory
from fusekit.machine.parsing import read_json
from fusekit.version import __version__

#: Of one family of kernels: from a sample, such as images (N, 1, H, W), to the kernels' result, that of their plain
#: torch twin, and the greatest absolute difference that is allowed.
KernelTrial: TypeAlias = Callable[[Tensor], "tuple[Tensor, Tensor, float]"]
Key: TypeAlias = Mapping[str, str]
#: Characters that are kept of what a kernel raised; compilers write pages.
_MOST_TEXT = 300


class Finding(NamedTuple):
    """What came of one family's trial.

    Attributes:
        passed: whether the difference is a number within the tolerance.
        difference: the greatest one between result and reference; ``None`` where it is no number.
        tolerance: the greatest that is allowed; ``None`` where the trial did not get that far.
        error: why there is no difference to tell.
    """

    passed: bool
    difference: float | None = None
    tolerance: float | None = None
    error: str | None = None

    def __str__(self) -> str:
        if self.error is not None or self.difference is None:
            return self.error or "no difference was found out"
        return f"differs by {self.difference:.1e}, and {self.tolerance:.1e} is allowed"


@dataclass(frozen=True)
class Verdict:
    """What came of the trials of a model's kernels; without families, that they were not proved.

    Attributes:
        families: the finding of each family of kernels by its name.
        when: date and time of the trials, ISO 8601 in UTC.
        unproved: why there is none.
    """

    families: Mapping[str, Finding] = field(default_factory=dict)
    when: str | None = None
    unproved: str = "the kernels have not been proved on this device (backend auto does so on a GPU)"

    @property
    def verified(self) -> bool:
        """Whether there are families, and each has passed."""
        return bool(self.families) and all(each.passed for each in self.families.values())

    @property
    def reason(self) -> str | None:
        """Why the kernels are not verified, on one line; ``None`` where they are."""
        if self.verified:
            return None
        if not self.families:
            return f"not verified: {self.unproved}"
        failed = [f"{name} {finding}" for name, finding in self.families.items() if not finding.passed]
        return f"the kernels failed beside their torch twins: {'; '.join(failed)}"

    def as_dict(self) -> dict[str, Any]:
        """Return ``verified``, ``reason``, ``when`` and ``families`` as JSON-able data, for records."""
        families = {name: finding._asdict() for name, finding in self.families.items()}
        return {"verified": self.verified, "reason": self.reason, "when": self.when, "families": families}


_lock = threading.RLock()
_known: dict[tuple[tuple[str, str], ...], Verdict | None] = {}


def key_of(device: torch.device, **what: str) -> dict[str, str]:
    """Return all that a verdict depends on: ``what`` is proved, the device, its driver, and the versions.

    Args:
        device: that computes.
        what: of the kernels: whose they are, the dtype, their families, a digest of their code.
    """
    found = {**what, "device": device_name(device)}
    if device.type == "cuda":
        found["capability"] = ".".join(map(str, torch.cuda.get_device_capability(device)))
        found["driver"] = driver_version()
    found["cuda"] = torch.version.cuda or "none"
    return {**found, **_versions()}


@functools.cache
def _versions() -> dict[str, str]:
    found = {"fusekit": __version__, "torch": str(torch.__version__)}
    try:
        return {**found, "triton": version("triton")}
    except PackageNotFoundError:
        return {**found, "triton": "none"}


def prove(key: Key, trials: Mapping[str, KernelTrial], sample: Callable[[], Tensor], device: torch.device) -> Verdict:
    """Return the verdict on kernels: the one that is known already, or else by running the trials now.

    Args:
        key: from `key_of`.
        trials: one a family of kernels.
        sample: makes what each trial gets, on the device.
        device: where they run.

    Raises:
        DeviceError: a kernel has left the device unusable for this process; the verdict is kept, so the next process
            does without these kernels.
    """
    with _lock:
        known = recall(key)
        if known is not None:
            return known
        findings, lasting = {}, True
        for name, trial in trials.items():
            findings[name], error = _tried(trial, sample)
            lasting = lasting and not (error is not None and is_out_of_memory(error))
            if error is not None and not _answers(device):
                _keep(key, Verdict(findings, _now()), lasting=True)
                raise DeviceError(
                    f"the kernels of {name} have left {device} unusable for this process: {one_line(error)}; "
                    "start again, and torch is taken instead, or with backend torch if that does not help"
                ) from error
        return _keep(key, Verdict(findings, _now()), lasting)


def recall(key: Key) -> Verdict | None:
    """Return the verdict that is known for this key, from memory or from the cache folder; ``None`` for none."""
    in_memory = tuple(key.items())
    if in_memory not in _known:
        path = _path_of(key)
        found = None if path is None else _read(path)
        _known[in_memory] = found[1] if found is not None and found[0] == dict(key) else None
    return _known[in_memory]


def current(key: Key) -> bool:
    """Return whether a verdict of this key comes from the versions of fusekit, torch and triton that are installed."""
    return {name: key.get(name) for name in _versions()} == _versions()


def kept() -> list[tuple[dict[str, str], Verdict]]:
    """Return every verdict in the cache folder with its key, the latest first, for ``fusekit doctor``."""
    folder = verdicts_folder()
    found = [_read(path) for path in folder.glob("*.json")] if folder is not None else []
    return sorted((each for each in found if each is not None), key=lambda each: each[1].when or "", reverse=True)


def verdicts_folder() -> Path | None:
    """Return the folder of the verdicts, which need not be there; ``None`` where the user has no home."""
    folder = cache_folder()
    return None if folder is None else folder / "verdicts"


def _tried(trial: KernelTrial, sample: Callable[[], Tensor]) -> tuple[Finding, BaseException | None]:
    """Run one trial, whatever it does; return the finding and what it raised."""
    try:
        with torch.inference_mode(), exact_float32():
            return _compared(*trial(sample())), None
    except (Exception, SystemExit) as error:
        text = one_line(error)
        return Finding(False, error=text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}…"), error


def _compared(result: Tensor, reference: Tensor, tolerance: float) -> Finding:
    tolerance = float(tolerance)
    if result.shape != reference.shape or not reference.numel():
        shapes = f"{tuple(result.shape)}, and its twin {tuple(reference.shape)}"
        return Finding(False, tolerance=tolerance, error=f"gave a result of shape {shapes}")
    found, wanted = (each.detach().cpu().double() for each in (result, reference))
    for values, whose in ((wanted, "the twin"), (found, "the kernels")):
        if not values.isfinite().all():
            return Finding(False, tolerance=tolerance, error=f"did not pass: {whose} gave values that are not finite")
    difference = (found - wanted).abs().max().item()
    return Finding(difference <= tolerance, difference, tolerance)


def _answers(device: torch.device) -> bool:
    """Return whether a device still computes; after an illegal access CUDA refuses all further work of a process."""
    try:
        return torch.ones(1, device=device).add_(1).item() == 2
    except RuntimeError as error:
        return is_out_of_memory(error)


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _keep(key: Key, verdict: Verdict, lasting: bool) -> Verdict:
    """Keep a verdict in memory and, if it is ``lasting``, in the cache folder where that can be written."""
    _known[tuple(key.items())] = verdict
    path = _path_of(key)
    if path is not None and lasting:
        families = {name: finding._asdict() for name, finding in verdict.families.items()}
        text = json.dumps({"key": dict(key), "when": verdict.when, "families": families}, indent=2)
        with contextlib.suppress(OSError, OutputError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text_atomically(path, text + "\n")
    return verdict


def _path_of(key: Key) -> Path | None:
    folder = verdicts_folder()
    if folder is None:
        return None
    return folder / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]}.json"


def _read(path: Path) -> tuple[dict[str, str], Verdict] | None:
    """Return key and verdict of a file; ``None`` where it is not there, or is not as `_keep` wrote it."""
    try:
        text = read_json(path)
        key, when, families = text["key"], text["when"], text["families"]
        findings = {name: Finding(**values) for name, values in families.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    whole = isinstance(key, dict) and isinstance(when, str) and findings and all(map(_is_whole, findings.values()))
    return (key, Verdict(findings, when)) if whole else None


def _is_whole(finding: Finding) -> bool:
    """Return whether a finding that was read says what it must, and its numbers bear it out."""
    numbers = [finding.difference, finding.tolerance]
    if not all(each is None or (isinstance(each, float) and math.isfinite(each)) for each in numbers):
        return False
    difference, tolerance = numbers
    within = difference is not None and tolerance is not None and difference <= tolerance
    return finding.passed is within and (difference is not None or isinstance(finding.error, str))
