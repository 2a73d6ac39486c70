"""``fusekit doctor``: what is installed, what is found, what is wrong."""

from __future__ import annotations

import json
import platform
import warnings
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

import click

from fusekit.errors import FusekitWarning, one_line
from fusekit.registry.discovery import registries

_DISTRIBUTIONS = ("fusekit-imaging", "torch", "numpy", "pluggy", "click", "rich", "safetensors", "huggingface-hub")
_MORE = ("pillow", "tifffile", "imagecodecs", "triton")


@click.command(short_help="Show versions, devices, plugins, weights, problems.")
@click.option("--tracebacks", is_flag=True, help="Show the tracebacks of plugins that were left out.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(tracebacks: bool, as_json: bool) -> None:
    """Print versions, devices, plugins, weights and caches, and what is wrong."""
    from fusekit.cli.doctor import diagnose

    findings = diagnose()
    if as_json:
        click.echo(json.dumps(findings, indent=2, ensure_ascii=False))
        return
    for title in ("versions", "devices", "plugins", "weights", "caches"):
        click.secho(title, bold=True)
        for name, value in findings[title].items():
            click.echo(f"  {name:<24} {value}")
    click.secho("problems", bold=True)
    for problem in findings["problems"] or ["none"]:
        click.echo(f"  {problem}")
    if tracebacks:
        for name, trace in findings["tracebacks"].items():
            click.secho(f"traceback of the plugin {name}", bold=True)
            click.echo(trace)


def diagnose() -> dict[str, Any]:
    """Return ``versions``, ``devices``, ``plugins``, ``weights``, ``caches``, ``problems`` and ``tracebacks``."""
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
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError as error:
        return {"hugging face hub": one_line(error)}
    cache = Path(HF_HUB_CACHE)
    return {"hugging face hub": f"{cache}{'' if cache.is_dir() else ' (not there yet)'}"}


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
