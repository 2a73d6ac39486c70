"""Folders of images: matched by name, fused by a crew of threads, resumable, and past what cannot be fused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fusekit.batch.capacity import Shares
from fusekit.batch.executor import Outcome
from fusekit.batch.threads import Crew
from fusekit.cases.case import Job
from fusekit.cases.folders import matched
from fusekit.errors import InputError, OutputError
from fusekit.machine.files import can_create_in, remove_stale_partials
from fusekit.models.base import FusionModel
from fusekit.models.describe import machine
from fusekit.models.load import load
from fusekit.options import Options
from fusekit.record import read_record, settings


@dataclass
class Summary:
    """How a run over folders went.

    Attributes:
        done: names fused in this run.
        skipped: names whose output was there already.
        other_settings: those of the skipped whose record shows another model, weights, rule or option.
        failed: reason by name.
        interrupted: whether the user stopped the run.
    """

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    other_settings: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False

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


def find_jobs(folders: Sequence[Path], output: Path, names: str | None = None) -> list[Job]:
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
    model: str | Path | FusionModel = "ehdran",
    *,
    names: str | None = None,
    options: Options | None = None,
    record: bool = True,
    overwrite: bool = False,
    workers: int | None = None,
    report: Callable[[Job], None] | None = None,
) -> Summary:
    """Fuse the images of folders that are called alike, as ``fusekit fuse --pairs`` does.

    Args:
        folders: two or more.
        output: folder to write to, made if need be.
        model: a name, or a model that `fusekit.load` returned, with its rule.
        names: fuse only these: a file with a name a line, or ``FILE.json#/key/key``.
        options: of the pipeline.
        record: whether to write records.
        overwrite: whether to make again what is there already.
        workers: sets that are fused at the same time; ``None`` for what suits the device.
        report: called after each job, in the order in which they end.

    Returns:
        what was fused, skipped and failed, with reasons; a set that cannot be fused is no exception here.

    Raises:
        FusekitError: folders, output folder, names, model or options cannot be used.
    """
    paths, target = [Path(folder) for folder in folders], Path(output)
    if len(paths) < 2:
        raise InputError("fusing needs two or more folders")
    jobs = find_jobs(paths, target, names)
    prepare_output(target, paths)
    loaded = model if isinstance(model, FusionModel) else load(model)
    return fuse_jobs(
        jobs,
        loaded,
        options or Options(),
        record=record,
        overwrite=overwrite,
        workers=workers,
        report=report,
    )


def fuse_jobs(
    jobs: Sequence[Job],
    model: FusionModel,
    options: Options,
    *,
    record: bool = True,
    overwrite: bool = False,
    workers: int | None = None,
    report: Callable[[Job], None] | None = None,
) -> Summary:
    """Fuse every job, go on past those that fail, and stop in good order when interrupted.

    Args:
        jobs: from `find_jobs`.
        model: loaded, with its rule.
        options: of the pipeline.
        record: whether to write records.
        overwrite: whether to make again what is there already.
        workers: sets that are fused at the same time; ``None`` for what suits the device.
        report: called after each job, in the order in which they end.

    Returns:
        the summary, in the order of ``jobs``.

    Raises:
        OptionError: fewer than one worker.
    """
    ours = settings(model, model.choose_rule(None), options)

    def skip(output: Path) -> Outcome | None:
        if overwrite or not output.exists():
            return None
        return Outcome("skipped", other_settings=not _same_settings(output, ours))

    shares = Shares.of(torch.device(machine(model)["device"]), workers)
    crew = Crew(jobs, model, options, shares, record=record, skip=skip, report=report)
    summary = Summary()
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
