"""Folders of images: matched by name, fused by an executor, resumable, and past what cannot be fused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fusekit.batch.executor import CaseFuser, Outcome, Work, execute
from fusekit.cases.case import Case
from fusekit.cases.folders import matched
from fusekit.errors import InputError, OutputError
from fusekit.machine.files import can_create_in, remove_stale_partials
from fusekit.models.base import FusionModel
from fusekit.models.load import load
from fusekit.options import Options


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
        """Add what became of a case."""
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


def find_cases(folders: Sequence[Path], output: Path, names: str | None = None) -> list[Case]:
    """Match the images of ``folders`` by name; each output is called as its first source."""
    cases = []
    for case in matched(folders, names):
        present = next((path for path in case.sources if path is not None), None)
        cases.append(replace(case, output=output / (present.name if present is not None else case.name)))
    return cases


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
    executor: str = "threads",
    report: Callable[[Case], None] | None = None,
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
        workers: cases that are fused at the same time; ``None`` for what suits the device.
        executor: what works off the cases, by its registered name.
        report: called after each case, in the order in which they end.

    Returns:
        what was fused, skipped and failed, with reasons; a case that cannot be fused is no exception here.

    Raises:
        FusekitError: folders, output folder, names, model or options cannot be used.
    """
    paths, target = [Path(folder) for folder in folders], Path(output)
    if len(paths) < 2:
        raise InputError("fusing needs two or more folders")
    cases = find_cases(paths, target, names)
    prepare_output(target, paths)
    loaded = model if isinstance(model, FusionModel) else load(model)
    return fuse_cases(
        cases,
        loaded,
        options or Options(),
        record=record,
        overwrite=overwrite,
        workers=workers,
        executor=executor,
        report=report,
    )


def fuse_cases(
    cases: Sequence[Case],
    model: FusionModel,
    options: Options,
    *,
    record: bool = True,
    overwrite: bool = False,
    workers: int | None = None,
    executor: str = "threads",
    report: Callable[[Case], None] | None = None,
) -> Summary:
    """Fuse every case, go on past those that fail, and stop in good order when interrupted.

    Args:
        cases: from `find_cases`.
        model: loaded, with its rule.
        options: of the pipeline.
        record: whether to write records.
        overwrite: whether to make again what is there already.
        workers: cases that are fused at the same time; ``None`` for what suits the device.
        executor: what works off the cases, by its registered name.
        report: called after each case, in the order in which they end.

    Returns:
        the summary, in the order of ``cases``.

    Raises:
        OptionError: fewer than one worker, or no such executor.
        InputError: two cases are to be written to one file.
        PluginError: the executor of a plugin failed, or did not account for every case.
    """
    fuser = CaseFuser(model, model.choose_rule(None), options, record, overwrite)
    outcomes, interrupted = execute(executor, Work(tuple(cases), fuser, workers), report)
    summary = Summary(interrupted=interrupted)
    for case in cases:
        if case in outcomes:
            summary.add(case.name, outcomes[case])
    return summary
