"""An executor."""

from __future__ import annotations

from collections.abc import Callable

from fusekit.extend import Case, Executor, Outcome, Work


class LastFirst(Executor):
    """One case after the other, from the last to the first."""

    def run(self, work: Work, report: Callable[[Case, Outcome], None]) -> list[Outcome]:
        outcomes = {}
        for case in reversed(work.cases):
            outcomes[case] = work.fuse_case(case)
            report(case, outcomes[case])
        return [outcomes[case] for case in work.cases]
