"""``fusekit bench quality``: models × rules × datasets × metrics under a protocol, cached and resumable.

`run` is the bench: protocol → replicates → ratings of every pair → rows. Tables and figures are made of its result.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from fusekit.batch.run import prepare_output
from fusekit.cases.datasets import choose, read_datasets
from fusekit.cases.folders import shortened
from fusekit.cases.names import list_name
from fusekit.errors import FusekitError, InputError, OptionError, one_line
from fusekit.machine.files import remove_stale_partials, sha256_of_all
from fusekit.models.describe import machine, versions
from fusekit.options import FuseOptions
from fusekit.record import settings
from fusekit.version import code_version
from fusekit_bench.quality.methods import RECONSTRUCTION, Method, key_of, loaded, parse_measures, roles_of
from fusekit_bench.quality.protocols import Replicate, Report, replicates
from fusekit_bench.quality.published import copies
from fusekit_bench.quality.scores import Job, cached, missing, score
from fusekit_bench.quality.table import Table
from fusekit_bench.requests import Quality

Ratings = dict[str, dict[str, Any]]


class Progress(Protocol):
    """What is told of the work as it goes on."""

    def rating(self, title: str, total: int) -> Callable[[], None]:
        """Announce that many pairs to rate; what is returned is called after each."""

    def training(self, title: str, steps: int) -> Report:
        """Announce a training; what is returned is called with each step's row of the log."""


class _Silent:
    def rating(self, title: str, total: int) -> Callable[[], None]:
        return lambda: None

    def training(self, title: str, steps: int) -> Report:
        return lambda row: None


def run(request: Quality, progress: Progress | None = None) -> Table:
    """Compute everything that is not in the output folder yet, and return the table.

    Raises:
        FusekitError: a dataset, model, rule or metric is not there, an image cannot be used, or a training fails.
    """
    progress = progress or _Silent()
    loaded.cache_clear()
    datasets = choose(read_datasets(request.data, request.description), request.datasets)
    measures = parse_measures(request.metrics) + ([RECONSTRUCTION] if request.ablation else [])
    prepare_output(request.output, ())
    table, steps = Table(request.title, measures, code_version()), request.recipe.steps
    with _workers(request.jobs) as rate:
        for replicate in replicates(request, datasets, lambda title: progress.training(title, steps)):
            _add(table, replicate, request, rate, progress)
    return table


def _add(table: Table, replicate: Replicate, request: Quality, rate: Callable[..., Any], progress: Progress) -> None:
    """Rate a replicate's pairs and add its rows to the table."""
    every = [*replicate.methods, *(_copies(replicate) if not request.ablation else ())]
    methods = {key_of(method, request.device): method for method in every}
    folder, measures = request.output / "cache" / replicate.dataset.name, tuple(table.measures)
    remove_stale_partials(folder)
    shown = replicate.dataset.source_names
    jobs = []
    for case in replicate.cases:
        files, cache = tuple(case.files), folder / f"{case.name}.json"
        asked = {key: method for key, method in methods.items() if method.covers(case.name)}
        jobs.append(Job(case.name, files, sha256_of_all(files), shown, asked, measures, cache, request.device))
    known = {job.name: cached(job) for job in jobs}
    todo = [job for job in jobs if missing(job, known[job.name])]
    done = progress.rating(f"{replicate.dataset.name} {replicate.label}".strip(), len(todo))
    for name, ratings in rate(todo):
        known[name] = ratings
        done()
    for key, method in methods.items():
        row, own = table.row(replicate.dataset, method), [job for job in jobs if key in job.methods]
        row.ratings[replicate.label] = {
            job.name: {each.name: known[job.name][key][each.key] for each in measures} for job in own
        }
        found = {"data": _data(replicate, own), "training": replicate.facts.get(method.name)}
        facts = {**_facts(method, shown, request.device), "commit": table.commit, **found}
        row.facts[replicate.label] = facts
        row.cases = [case for case in replicate.cases if method.covers(case.name)]
        row.partial = len(own) < len(jobs)


def _copies(replicate: Replicate) -> list[Method]:
    """Return the copies of each source as methods, by which a table says what copying gets."""
    found = copies(replicate.dataset, replicate.cases)
    return [Method("", None, label=label, published=each, copies=True) for label, each in found.items()]


def _facts(method: Method, shown: Sequence[str], device: str) -> dict[str, Any]:
    """Return what a row says of itself: model, weights with sha256, rule, policies, device, versions.

    One of published images says their folder, number and digest.
    """
    images = method.published
    if images is not None:
        return {"fused": {"folder": shortened(images.folder), "images": len(images.files), "sha256": images.sha256}}
    network = loaded(method.model, method.weights, device)
    rule = network.choose_rule(method.rule)
    options = FuseOptions(color="gray", roles=roles_of(network.spec, shown))
    return {**settings(network, rule, options), **machine(network), "versions": versions(network)}


def _data(replicate: Replicate, jobs: Sequence[Job]) -> dict[str, Any]:
    """Return what a row says of its test pairs: number, folders by their last two parts, list, and a digest of all."""
    folders = dict.fromkeys(shortened(path.parent) for job in jobs for path in job.sources)
    digest = hashlib.sha256("".join(job.sha256 for job in jobs).encode()).hexdigest()
    return {"pairs": len(jobs), "folders": list(folders), "names": list_name(replicate.names), "sha256": digest}


@contextmanager
def _workers(count: int) -> Iterator[Callable[[Sequence[Job]], Iterator[tuple[str, Ratings]]]]:
    """Give a function that rates pairs in ``count`` processes and yields name and ratings of each as it is done."""
    if count == 1:
        yield lambda jobs: ((job.name, score(job)) for job in jobs)
        return
    # Spawned, not forked: torch's threads and CUDA do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield lambda jobs: _collected([pool.submit(_score, job) for job in jobs])
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _collected(futures: Sequence[Future[tuple[str, Ratings]]]) -> Iterator[tuple[str, Ratings]]:
    try:
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise OptionError(
            "a process that fuses ended on its own, most likely for want of memory; use fewer --jobs "
            "(what was done is kept)"
        ) from error


def _score(job: Job) -> tuple[str, Ratings]:
    """Do as `score` in a worker; our errors come back as one kind, as not every kind can be sent between processes."""
    try:
        return job.name, score(job)
    except FusekitError as error:
        raise InputError(one_line(error)) from None
