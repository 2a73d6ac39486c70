"""Folders of images: matched by name, fused by a crew of threads, resumable, and past what cannot be fused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fusekit.batch.capacity import Shares
from fusekit.batch.executor import Outcome
from fusekit.batch.threads import Crew
from fusekit.cases.case import Job
from fusekit.cases.folders import matched
from fusekit.cases.roles import check_roles, numbered
from fusekit.errors import InputError, OutputError, UnknownNameError
from fusekit.machine.files import can_create_in, remove_stale_partials
from fusekit.models.base import FusionModel
from fusekit.models.describe import machine
from fusekit.models.load import loaded_model
from fusekit.options import DEFAULT_MODEL, FuseOptions, LoadOptions, RunOptions, as_asked, overridden
from fusekit.record import read_record, settings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fusekit.options import FolderChoices


@dataclass
class Summary:
    """How a run over folders went.

    Attributes:
        done: names fused in this run.
        skipped: names whose output was there already.
        other_settings: those of the skipped whose record shows another model, weights, rule or option.
        failed: reason by name.
        interrupted: whether the user stopped the run.
        run: `RunOptions` as they were asked for.
    """

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    other_settings: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False
    run: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, outcome: Outcome) -> None:
        """Add what became of a job."""
        if outcome.kind == "failed":
            self.failed[name] = outcome.reason
        else:
            (self.done if outcome.kind == "done" else self.skipped).append(name)
        if outcome.other_settings:
            self.other_settings.append(name)

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON-able data."""
        return dict(vars(self))

    def text(self, output: Path) -> str:
        """Return one line for people."""
        parts = [f"{len(self.done)} fused", f"{len(self.skipped)} there already", f"{len(self.failed)} failed"]
        return f"{output}: {', '.join(part for part in parts if not part.startswith('0 ')) or 'nothing to do'}"


def find_jobs(folders: Sequence[Path], output: Path, names: str | Path | None = None) -> list[Job]:
    """Match the images of ``folders`` by name; each output is called as its first source."""
    jobs = []
    for name, sources in matched(folders, names).items():
        present = next((path for path in sources if path is not None), None)
        file_name = present.name if present is not None else name
        jobs.append(Job(name, sources, output / file_name))
    return jobs


def prepare_output(output: Path, folders: Sequence[Path]) -> None:
    """Make the output folder and clear away what killed runs left in it.

    Raises:
        OutputError: it is one of the source folders, or cannot be made or written to.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {output}: {error.strerror or error}") from error
    if any(output.samefile(folder) for folder in folders):
        raise OutputError(f"the output folder {output} is one of the sources; choose another")
    if not can_create_in(output):
        raise OutputError(f"cannot write in the folder {output}: no permission")
    remove_stale_partials(output)


def fuse_folders(
    folders: Sequence[str | Path],
    output: str | Path,
    model: str | Path | FusionModel = DEFAULT_MODEL,
    options: FuseOptions | None = None,
    run: RunOptions | None = None,
    **choices: Unpack[FolderChoices],
) -> Summary:
    """Fuse the images of folders that are called alike, as ``fusekit fuse --pairs`` does.

    Args:
        folders: two or more.
        output: folder to write to, made if need be.
        model: as `fusekit.load` takes it, or a model that it returned (then no choice of loading applies).
        options: how to fuse.
        run: how to go through the folders.
        choices: fields of `FuseOptions` and `RunOptions`, which overrule ``options`` and ``run``, and of `LoadOptions`.

    Returns:
        what was fused, skipped and failed, with reasons; a set that cannot be fused is no exception here.

    Raises:
        FusekitError: folders, output folder, names, model or options cannot be used.
    """
    options = overridden(FuseOptions, options, choices, LoadOptions, RunOptions)
    run = overridden(RunOptions, run, choices, LoadOptions, FuseOptions)
    paths, target = [Path(folder) for folder in folders], Path(output)
    if len(paths) < 2:
        raise InputError("fusing needs two or more folders")
    options = replace(options, roles=numbered(options.roles, paths))
    jobs = find_jobs(paths, target, run.names)
    prepare_output(target, paths)
    return fuse_jobs(jobs, loaded_model(model, choices), options, run)


def fuse_jobs(
    jobs: Sequence[Job], model: FusionModel, options: FuseOptions | None = None, run: RunOptions | None = None
) -> Summary:
    """Fuse every job, go on past those that fail, and stop in good order when interrupted.

    Args:
        jobs: from `find_jobs`.
        model: loaded.
        options: how to fuse; roles by number.
        run: how to go through the jobs; their names are chosen already.

    Returns:
        the summary, in the order of ``jobs``.

    Raises:
        RuleError: the model cannot use the rule.
        UnknownNameError: there is no such executor.
    """
    options, run = options or FuseOptions(), run or RunOptions()
    if run.executor != "threads":
        raise UnknownNameError("executor", run.executor, ["threads"])
    check_roles(model.spec, options.roles)
    ours = settings(model, model.choose_rule(options.rule, options.rule_options), options)

    def skip(output: Path) -> Outcome | None:
        if run.overwrite or not output.exists():
            return None
        return Outcome("skipped", other_settings=not _same_settings(output, ours))

    shares = Shares.of(torch.device(machine(model)["device"]), run.workers)
    crew = Crew(jobs, model, options, shares, record=run.record, skip=skip, report=run.report)
    summary = Summary(run=as_asked(run))
    try:
        crew.run()
    except KeyboardInterrupt:
        summary.interrupted = True
    for index, job in enumerate(jobs):
        if index in crew.outcomes:
            summary.add(job.name, crew.outcomes[index])
    return summary


def _same_settings(output: Path, ours: dict[str, Any]) -> bool:
    """Return whether the record beside ``output`` shows these settings; an output without record passes."""
    theirs = read_record(output)
    # Through JSON and back, as theirs came: tuples become lists.
    return theirs is None or all(theirs.get(key) == value for key, value in json.loads(json.dumps(ours)).items())
