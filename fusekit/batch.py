"""Folders of images, fused one set after the other: resumable, and past what cannot be fused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fusekit.errors import FusekitError, InputError, OutputError, one_line
from fusekit.files import can_create_in, remove_stale_partials
from fusekit.io.folders import matched
from fusekit.model import FusionModel
from fusekit.pipeline import Options, fuse_loaded
from fusekit.record import read_record, settings


@dataclass(frozen=True)
class Job:
    """One set of sources with its output.

    Attributes:
        name: the sources' common file name without extension.
        sources: one path a folder, ``None`` where a folder lacks it.
        output: file to write.
    """

    name: str
    sources: list[Path | None]
    output: Path


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


def fuse_jobs(
    jobs: Sequence[Job],
    model: FusionModel,
    options: Options,
    *,
    record: bool = True,
    overwrite: bool = False,
    report: Callable[[Job], None] | None = None,
) -> Summary:
    """Fuse every job, go on past those that fail, and stop in good order when interrupted.

    Args:
        jobs: from `find_jobs`.
        model: loaded, with its rule.
        options: of the pipeline.
        record: whether to write records.
        overwrite: whether to make again what is there already.
        report: called after each job.
    """
    summary = Summary()
    ours = settings(model, model.choose_rule(None), options)
    try:
        for job in jobs:
            if job.output.exists() and not overwrite:
                summary.skipped.append(job.name)
                if not _same_settings(job.output, ours):
                    summary.other_settings.append(job.name)
            else:
                _fuse_one(job, model, options, record, summary)
            if report is not None:
                report(job)
    except KeyboardInterrupt:
        summary.interrupted = True
    return summary


def _fuse_one(job: Job, model: FusionModel, options: Options, record: bool, summary: Summary) -> None:
    try:
        sources = [path for path in job.sources if path is not None]
        if len(sources) < len(job.sources):
            lacking = [index for index, path in enumerate(job.sources, start=1) if path is None]
            raise InputError(f"missing from folder {', '.join(map(str, lacking))} of {len(job.sources)}")
        fuse_loaded(sources, model, options=options).save(job.output, record=record)
    except FusekitError as error:
        summary.failed[job.name] = one_line(error)
    else:
        summary.done.append(job.name)


def _same_settings(output: Path, ours: dict[str, Any]) -> bool:
    """Return whether the record beside ``output`` shows these settings; an output without record passes."""
    theirs = read_record(output)
    # Through JSON and back, as theirs came: tuples become lists.
    return theirs is None or all(theirs.get(key) == value for key, value in json.loads(json.dumps(ours)).items())
