"""Folders of images: matched by name, fused by an executor, resumable, and past what cannot be fused."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusekit.batch.executor import CaseFuser, Outcome, Work, execute
from fusekit.batch.ranges import of_folders, with_found_ranges
from fusekit.cases.case import Case
from fusekit.cases.folders import matched, output_name
from fusekit.cases.roles import check_roles
from fusekit.errors import FusekitWarning, InputError, OutputError
from fusekit.machine.faults import in_our_words
from fusekit.machine.files import make_folder, remove_stale_partials, same_file
from fusekit.models.base import FusionModel
from fusekit.models.load import loaded_model
from fusekit.options import FuseOptions, LoadOptions, RunOptions, as_asked, overridden

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fusekit.options import FolderChoices


@dataclass(repr=False)
class Summary:
    """How a run over folders went.

    Attributes:
        done: names fused in this run.
        skipped: names whose output was there already.
        other_settings: those of the skipped whose record shows another model, weights, rule or option.
        failed: reason by name.
        doubts: names by kind of what is in doubt about them, such as ``share``: one source dominates.
        interrupted: whether the user stopped the run.
        run: `RunOptions` as they were asked for.
    """

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    other_settings: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    doubts: dict[str, list[str]] = field(default_factory=dict)
    interrupted: bool = False
    run: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, outcome: Outcome) -> None:
        """Add what became of a case."""
        if outcome.kind == "failed":
            self.failed[name] = outcome.reason
        else:
            (self.done if outcome.kind == "done" else self.skipped).append(name)
        if outcome.other_settings:
            self.other_settings.append(name)
        for doubt in outcome.doubts:
            self.doubts.setdefault(doubt.kind, []).append(name)

    def __repr__(self) -> str:
        return f"Summary({self._counts()}{', interrupted' if self.interrupted else ''})"

    def reasons(self) -> dict[str, list[str]]:
        """Return the names of those that failed by the reason."""
        found: dict[str, list[str]] = {}
        for name, reason in self.failed.items():
            found.setdefault(reason, []).append(name)
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON-able data."""
        return dict(vars(self))

    def text(self, output: Path) -> str:
        """Return one line for people."""
        return f"{output}: {self._counts()}"

    def _counts(self) -> str:
        parts = [f"{len(self.done)} fused", f"{len(self.skipped)} there already", f"{len(self.failed)} failed"]
        parts += [f"{len(names)} with a doubt about {kind}" for kind, names in self.doubts.items()]
        return ", ".join(part for part in parts if not part.startswith("0 ")) or "nothing to do"


def find_cases(
    folders: Sequence[Path], output: Path, names: str | Path | None = None, match: Sequence[str] = ()
) -> list[Case]:
    """Match the images of ``folders``, as `fusekit.cases.folders.matched` does.

    Each output is called as its first source; by patterns, as what the names have in common, with that one's extension.
    """
    found = matched(folders, names, match=match)
    return [replace(case, output=output / output_name(case, match)) for case in found]


def prepare_output(output: Path, folders: Sequence[Path]) -> None:
    """Make the output folder and clear away what killed runs left in it.

    Raises:
        OutputError: it is one of the source folders, or cannot be made or written to.
    """
    if any(same_file(output, folder) for folder in folders):
        raise OutputError(f"the output folder {output} is one of the sources; choose another")
    make_folder(output)
    remove_stale_partials(output)


@in_our_words
def fuse_folders(
    folders: Sequence[str | Path],
    output: str | Path,
    model: str | Path | FusionModel | None = None,
    options: FuseOptions | None = None,
    run: RunOptions | None = None,
    **choices: Unpack[FolderChoices],
) -> Summary:
    """Fuse the images of folders that are called alike, as ``fusekit fuse --pairs`` does.

    Args:
        folders: two or more.
        output: folder to write to, made if need be.
        model: as `fusekit.load` takes it, or a model that it returned (then no choice of loading applies); by default
            the one that the ``weights`` say, or else the default one.
        options: how to fuse.
        run: how to go through the folders.
        choices: fields of `FuseOptions` and `RunOptions`, which overrule ``options`` and ``run``, and of `LoadOptions`.

    Returns:
        what was fused, skipped and failed, with reasons; a case that cannot be fused is no exception here.

    Raises:
        FusekitError: folders, output folder, names, model or options cannot be used.
    """
    options = overridden(FuseOptions, options, choices, LoadOptions, RunOptions)
    run = overridden(RunOptions, run, choices, LoadOptions, FuseOptions)
    paths, target = [Path(folder) for folder in folders], Path(output)
    if len(paths) < 2:
        raise InputError("fusing needs two or more folders")
    options = of_folders(options, paths)
    cases = find_cases(paths, target, run.names, run.match)
    loaded = loaded_model(model, choices)
    prepare_output(target, paths)
    return fuse_cases(cases, loaded, options, run)


def fuse_cases(
    cases: Sequence[Case], model: FusionModel, options: FuseOptions | None = None, run: RunOptions | None = None
) -> Summary:
    """Fuse every case, go on past those that fail, and stop in good order when interrupted.

    Args:
        cases: from `find_cases`.
        model: loaded.
        options: how to fuse; roles by number.
        run: how to go through the cases; their names are chosen already.

    Returns:
        the summary, in the order of ``cases``.

    Raises:
        RuleError: the model cannot use the rule.
        UnknownNameError: there is no such executor.
        InputError: two cases are to be written to one file.
        PluginError: the executor of a plugin failed, or did not account for every case.
    """
    options, run = with_found_ranges(options or FuseOptions(), cases), run or RunOptions()
    rule = model.choose_rule(options.rule, options.rule_options)
    check_roles(model.spec, options.roles)
    fuser = CaseFuser(model, rule, options, run.record, run.overwrite)
    said: set[str] = set()

    def report(case: Case, outcome: Outcome) -> None:
        for doubt in outcome.doubts:
            if doubt.kind not in said:
                said.add(doubt.kind)
                text = f"{doubt.text} (said once; the record of each image holds what concerns it)"
                warnings.warn(text, FusekitWarning, stacklevel=2)
        if run.report is not None:
            run.report(case)

    outcomes, interrupted = execute(run.executor, Work(tuple(cases), fuser, run.workers), report)
    summary = Summary(run=as_asked(run), interrupted=interrupted)
    for case in cases:
        if case in outcomes:
            summary.add(case.name, outcomes[case])
    return summary
