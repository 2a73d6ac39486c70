"""The contract of executors, which work off the cases of a batch: in threads, in other processes, on other machines.

An executor is registered by the hook ``register_executors`` and chosen by its name. The least of them is
`SerialExecutor` below. What one returns is checked in `execute` and nowhere else.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fusekit.cases.case import Case
from fusekit.errors import Doubt, InputError, OutputError, one_line
from fusekit.machine.faults import as_ours
from fusekit.machine.files import ignores_case, is_file
from fusekit.registry.contract import Component, calling, fault, registered
from fusekit.registry.discovery import registries

if TYPE_CHECKING:
    from fusekit.models.base import FusionModel
    from fusekit.options import FuseOptions, LoadOptions
    from fusekit.pipeline import Fused
    from fusekit.rules.base import FusionRule

#: It tells where the failure of a case came from, which the outcome has one line of.
_log = logging.getLogger(__name__)
_KINDS = ("done", "skipped", "failed")


class Outcome(NamedTuple):
    """What became of a case.

    Attributes:
        kind: ``done``, ``skipped`` or ``failed``.
        reason: why it failed, one line.
        other_settings: whether what was there already was made with other settings.
        doubts: about what was made.
    """

    kind: str
    reason: str = ""
    other_settings: bool = False
    doubts: tuple[Doubt, ...] = ()


def failed(error: BaseException) -> Outcome:
    """Return the outcome of a case that could not be fused."""
    _log.debug("a case could not be fused", exc_info=error)
    return Outcome("failed", one_line(as_ours(error) or error))


@dataclass(frozen=True)
class CaseFuser:
    """Fuses one case from files to file: call it with the case.

    It can be pickled, to be sent to another process once, which then calls it for many cases. A model that
    `fusekit.load` returned is loaded again there, by the same choices, so ``device="auto"`` is what that machine has; a
    model that was made otherwise goes along with its weights. Paths are as they were given: a process in another
    working directory needs absolute ones.

    Attributes:
        model: loaded; several threads may call it at once.
        rule: that the model chose, ``None`` for one that has none to choose.
        options: of the pipeline.
        record: whether to write records.
        overwrite: whether to make again what is there already.
    """

    model: FusionModel
    rule: FusionRule | None
    options: FuseOptions
    record: bool = True
    overwrite: bool = False

    def __call__(self, case: Case) -> Outcome:
        """Fuse a case and write the image with its record; whatever it raises is this case's failure."""
        from fusekit.fusing.run import run
        from fusekit.pipeline import finish, prepare

        try:
            skipped = self.skipped(case)
            if skipped is not None:
                return skipped
            started = time.perf_counter()
            self.model.check_count(len(case.sources))
            prepared = prepare(case.files, self.model, self.options)
            read_at = time.perf_counter()
            (ran,) = run(self.model, [prepared.units], self.rule, self.options)
            seconds = {"read": read_at - started, "fuse": time.perf_counter() - read_at}
            fused = finish(prepared, self.model, self.rule, self.options, ran, seconds)
            return self.save(case, fused)
        # A model of a plugin may raise anything; the other cases go on.
        except (Exception, SystemExit, GeneratorExit) as error:
            return failed(error)

    def skipped(self, case: Case) -> Outcome | None:
        """Return the outcome of a case whose output is there already and is to stay, ``None`` of one to be fused.

        Raises:
            OutputError: what was fused could not be written, because of what is there.
        """
        from fusekit.record import belongs_to, check_output, read_record

        output = case.target
        if self.overwrite or not is_file(output):
            check_output(output, case.sources, record=self.record, overwrite=self.overwrite)
            return None
        theirs = read_record(output)
        same = theirs is None or (
            all(theirs.get(key) == value for key, value in self._settings.items()) and belongs_to(theirs, output)
        )
        return Outcome("skipped", other_settings=not same)

    def save(self, case: Case, fused: Fused) -> Outcome:
        """Write what was fused of a case and return its outcome; a run beside this one may have been quicker.

        Raises:
            OutputError: it cannot be written.
        """
        from fusekit.record import about_record, save_with_record

        output = case.target
        try:
            save_with_record(output, fused.stored, fused.record, beside=self.record, overwrite=self.overwrite)
        except OutputError:
            skipped = self.skipped(case)
            if skipped is None:
                raise
            return skipped
        return Outcome("done", doubts=(*fused.doubts, *(() if self.record else about_record(output))))

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """What the record of an output of these settings says; through JSON and back, so that tuples are lists."""
        from fusekit.record import settings

        found: dict[str, Any] = json.loads(json.dumps(settings(self.model, self.rule, self.options)))
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        made_of = self.model.provenance
        again = None if made_of is None else (made_of.name, made_of.options)
        return _unpickled, (again or self.model, self.rule, self.options, self.record, self.overwrite)


def _unpickled(model: Any, *arguments: Any) -> CaseFuser:
    return CaseFuser(_load_again(*model) if isinstance(model, tuple) else model, *arguments)


#: The model that this process loaded last for a fuser that came from another one.
_loaded: dict[str, FusionModel] = {}


def _load_again(name: str | None, options: LoadOptions) -> FusionModel:
    """Load a model as it was loaded before, once a process."""
    from fusekit.models.load import load

    key = repr((name, options))
    if key not in _loaded:
        _loaded.clear()
        _loaded[key] = load(name, options)
    return _loaded[key]


@dataclass(frozen=True)
class Work:
    """What an executor is given.

    Attributes:
        cases: to be fused, each with an output of its own.
        fuse_case: fuses one of them; it raises nothing but ``KeyboardInterrupt``.
        workers: cases to fuse at the same time; ``None`` for what suits the device.
    """

    cases: tuple[Case, ...]
    fuse_case: CaseFuser
    workers: int | None = None


class Executor:
    """Works off the cases of a batch; subclasses take no arguments and define `run`."""

    def run(self, work: Work, report: Callable[[Case, Outcome], None]) -> Sequence[Outcome]:
        """Fuse all cases of ``work``, in any order and as many at a time as suits.

        Args:
            work: the cases, and ``work.fuse_case`` to call for each, here or in other threads and processes.
            report: to be called with each case that has ended and its outcome, from the thread that called `run`, soon
                after it ended.

        Returns:
            one outcome a case, in the order of ``work.cases``.

        Raises:
            KeyboardInterrupt: the user stopped it. What has begun is finished and reported first, so that what was
                reported is true of the files that are there.
        """
        raise NotImplementedError(f"{type(self).__name__} must define run(work, report)")


class SerialExecutor(Executor):
    """One case after the other in the thread that asks: for debugging, and as the example of the contract."""

    def run(self, work: Work, report: Callable[[Case, Outcome], None]) -> list[Outcome]:
        outcomes = []
        for case in work.cases:
            outcomes.append(work.fuse_case(case))
            report(case, outcomes[-1])
        return outcomes


def execute(
    name: str, work: Work, report: Callable[[Case, Outcome], None] | None = None
) -> tuple[dict[Case, Outcome], bool]:
    """Let the executor called ``name`` do the work, and check what it says.

    Args:
        name: of a registered executor.
        work: with no two cases of one output.
        report: called after each case with its outcome, in the order in which they end.

    Returns:
        the outcome of each case, and whether the user interrupted the run; then cases that had not begun are left out.

    Raises:
        UnknownNameError: there is no such executor.
        PluginError: it is no `Executor`, failed, or left out or made up a case; the message names plugin and executor.
        InputError: two cases are to be written to one file.
    """
    _check_outputs(work.cases)
    component = registered(registries().executors, name)
    wanted = set(work.cases)
    ended: dict[Case, Outcome] = {}
    raised: list[BaseException] = []

    def told(case: Case, outcome: Outcome) -> None:
        if case not in wanted:
            raise fault(component, f"reports {case!r}, which is none of its cases", "report those of work.cases")
        _check_outcome(component, case, outcome)
        # Kept first: an interruption may come while the user is told.
        ended[case] = outcome
        if report is not None:
            try:
                report(case, outcome)
            except BaseException as error:
                raised.append(error)
                raise

    try:
        with calling(component, passes=lambda error: error in raised):
            executor = registries().executors.load(name)()
            if not isinstance(executor, Executor):
                raise fault(component, "is not a fusekit.extend.Executor", "derive it from one")
            outcomes = executor.run(work, told)
    except KeyboardInterrupt:
        return ended, True
    return _checked(component, work.cases, outcomes), False


def _check_outputs(cases: Sequence[Case]) -> None:
    """Raise `InputError` where a case states no output, or that of another, be it in other capitals."""
    seen: dict[Path, Case] = {}
    folded: dict[Path, Case] = {}
    for case in cases:
        target = case.target
        other = seen.setdefault(target, case)
        if other is not case:
            raise InputError(f"the cases {other.name!r} and {case.name!r} are both to be written to {target}")
        other = folded.setdefault(target.with_name(target.name.casefold()), case)
        if other is not case and ignores_case(target.parent):
            raise InputError(
                f"the cases {other.name!r} and {case.name!r} differ in capitals alone, and {target.parent} does not "
                "tell these apart; rename one, or write to another drive"
            )


def _checked(component: Component, cases: Sequence[Case], outcomes: Any) -> dict[Case, Outcome]:
    """Return the outcome of each case, or raise what is wrong with what an executor returned."""
    if isinstance(outcomes, str) or not isinstance(outcomes, Sequence) or len(outcomes) != len(cases):
        given = f"{len(outcomes)} outcomes" if isinstance(outcomes, Sequence) else type(outcomes).__name__
        raise fault(component, f"returns {given} for {len(cases)} cases", "return a list with an outcome for each")
    for case, outcome in zip(cases, outcomes, strict=True):
        _check_outcome(component, case, outcome)
    return dict(zip(cases, outcomes, strict=True))


def _check_outcome(component: Component, case: Case, outcome: Any) -> None:
    if not isinstance(outcome, Outcome) or outcome.kind not in _KINDS:
        raise fault(
            component,
            f"says {outcome!r} of {case.name!r}",
            f"say a fusekit.extend.Outcome whose kind is {', '.join(_KINDS[:-1])} or {_KINDS[-1]}",
        )
    if outcome.kind == "done" and not case.target.exists():
        raise fault(component, f"says that {case.name!r} is done, and there is no {case.output}", "write it first")
