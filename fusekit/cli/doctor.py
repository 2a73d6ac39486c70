"""``fusekit doctor``: what is installed, what is found, what is wrong."""

from __future__ import annotations

import platform
import warnings
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fusekit.cli.asked import asked
from fusekit.cli.output import Command, result, result_json
from fusekit.errors import FusekitWarning, one_line, plain
from fusekit.registry.discovery import registries

if TYPE_CHECKING:
    from fusekit.machine.probation import Verdict

_DISTRIBUTIONS = ("fusekit-imaging", "torch", "numpy", "pluggy", "click", "rich", "safetensors", "huggingface-hub")
_MORE = ("pillow", "tifffile", "imagecodecs", "triton")


@click.command(cls=Command, short_help="Show versions, devices, plugins, weights, problems.")
@click.option("--tracebacks", is_flag=True, help="Show the tracebacks of plugins that were left out.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(tracebacks: bool, as_json: bool) -> None:
    """Print versions, devices, plugins, weights and caches, and what is wrong."""
    from fusekit.cli.doctor import diagnose

    findings = diagnose()
    if as_json:
        result_json(findings)
        return
    for title in ("versions", "devices", "kernels", "plugins", "weights", "caches"):
        result(click.style(title, bold=True))
        for name, value in findings[title].items():
            result(plain(f"  {name:<24} {value}"))
    result(click.style("problems", bold=True))
    for problem in findings["problems"] or ["none"]:
        result(plain(f"  {problem}"))
    if tracebacks or asked.traceback:
        for name, trace in findings["tracebacks"].items():
            result(click.style(plain(f"traceback of the plugin {name}"), bold=True))
            result("\n".join(map(plain, trace.splitlines())))


def diagnose() -> dict[str, Any]:
    """Return what is found, by title, with ``problems`` and ``tracebacks``; each title but these maps names to text."""
    with warnings.catch_warnings():
        # What a warning would say of a plugin stands among the problems.
        warnings.simplefilter("ignore", FusekitWarning)
        reports = registries().reports
    problems = [
        f"the plugin {report.name!r} of {report.distribution} is left out: {report.error}"
        for report in reports
        if report.error
    ]
    return {
        "versions": _versions(problems),
        "devices": _devices(),
        "kernels": _kernels(),
        "plugins": {
            report.name: f"{report.distribution} {report.version} {'LEFT OUT' if report.error else 'ok'}"
            for report in reports
        },
        "weights": _weights(problems),
        "caches": _caches(),
        "problems": problems + _shared_packages(),
        "tracebacks": {report.name: report.traceback for report in reports if report.error},
    }


def _versions(problems: list[str]) -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in (*_DISTRIBUTIONS, *_MORE):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
            if name not in ("triton", "fusekit-imaging"):
                problems.append(f"{name} is not installed; run: pip install {name}")
            elif name == "fusekit-imaging":
                problems.append("fusekit-imaging is not installed, so its plugins are not found; run: pip install -e .")
    return found


def _devices() -> dict[str, str]:
    import torch

    from fusekit.machine.backends import describe

    found = {"cpu": f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found[f"cuda:{index}"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if torch.cuda.device_count() == 0:
        found["cuda"] = "none that torch can use"
    found["triton kernels"] = describe()
    return found


def _kernels() -> dict[str, str]:
    """Return what came of the trials of kernels with the versions that are installed, the latest of each."""
    from fusekit.machine.probation import current, kept

    found, others = {}, 0
    for key, verdict in kept():
        name = ", ".join(str(key.get(part)) for part in ("model", "dtype", "device"))
        if not current(key):
            others += 1
        elif name not in found:
            found[name] = f"{verdict.when}, {_outcome(verdict)}"
    if others:
        found["other versions"] = f"{others} verdicts, which do not count here"
    return found or {"none proved yet": "a model that has kernels proves them when it first runs on a GPU"}


def _outcome(verdict: Verdict) -> str:
    """Return on one line what came of the trials: each family's difference, or what failed."""
    if not verdict.verified:
        return f"LEFT OUT: {verdict.reason}"
    return "verified: " + ", ".join(f"{name} {each.difference:.1e}" for name, each in verdict.families.items())


def _weights(problems: list[str]) -> dict[str, str]:
    from fusekit.weights.resolve import bundled_folders
    from fusekit.weights.verify import verify_all

    found = {}
    for check in verify_all():
        found[check.name] = check.state
        if check.error:
            problems.append(check.error)
    for folder in bundled_folders():
        found["bundled folder"] = str(folder)
    return found


def _caches() -> dict[str, str]:
    from fusekit.machine.probation import verdicts_folder

    found = {"verdicts on kernels": _folder(verdicts_folder())}
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError as error:
        return {**found, "hugging face hub": one_line(error)}
    return {**found, "hugging face hub": _folder(Path(HF_HUB_CACHE))}


def _folder(path: Path | None) -> str:
    if path is None:
        return "none: there is no home folder"
    return f"{path}{'' if path.is_dir() else ' (not there yet)'}"


def _shared_packages() -> list[str]:
    """Return a line for each of our packages that two installed distributions own."""
    ours = {report.target.partition(".")[0] for report in registries().reports} | {"fusekit"}
    problems = []
    for package, owners in packages_distributions().items():
        distinct = sorted(set(owners))
        if package in ours and len(distinct) > 1:
            problems.append(
                f"the package {package} is owned by {' and '.join(distinct)}: uninstalling one breaks the other; "
                f"keep one and reinstall it"
            )
    return problems
