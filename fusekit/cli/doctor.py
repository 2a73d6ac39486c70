"""``fusekit doctor``: what is installed, what is found, what is wrong."""

from __future__ import annotations

import json

import click


@click.command(short_help="Show versions, devices, plugins, weights, problems.")
@click.option("--tracebacks", is_flag=True, help="Show the tracebacks of plugins that were left out.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(tracebacks: bool, as_json: bool) -> None:
    """Print versions, devices, plugins, weights and caches, and what is wrong."""
    from fusekit.diagnosis import diagnose

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
