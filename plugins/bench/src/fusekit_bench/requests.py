"""What each command of ``fusekit bench`` is asked for: every choice once, with its help; nothing heavy is imported."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any

import click

from fusekit.errors import OptionError
from fusekit.train.recipe import Recipe
from fusekit_bench.options import choice, whole

_PATH = click.Path(path_type=Path)
_LEAST_SIDE = 16
#: Fields of the recipe that the trainings of ``fusekit bench quality`` leave open.
RECIPE = ("steps", "batch", "crop", "rate", "gradient_weight", "perceptual_weight", "precision")
PROTOCOLS = ("series", "paper")
#: Seconds that a model may take at a size, in a comparison.
PATIENCE = 600


def parse_size(text: str) -> tuple[int, int]:
    """Return height and width of ``256`` or ``300x417``.

    Raises:
        OptionError: it is neither, or a side is below 16.
    """
    found = re.fullmatch(r"([0-9]{1,9})(?:[x×]([0-9]{1,9}))?", text)
    if not found:
        raise OptionError(f"a size is a side or HEIGHTxWIDTH in pixels, as 256 or 300x417, not {text!r}")
    height, width = int(found[1]), int(found[2] or found[1])
    check_size(height, width)
    return height, width


def check_size(height: int, width: int) -> None:
    """Raise `OptionError` for a side below 16 pixels."""
    if min(height, width) < _LEAST_SIDE:
        raise OptionError(f"images of {height}×{width} pixels are too small to time; give sides of 16 or more")


def _at_least(least: int, **numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < least:
            raise OptionError(f"--{name.replace('_', '-')} is {least} or more, not {number}")


def _device() -> Any:
    return choice("auto", "auto, cpu, cuda or cuda:N.")


def _size() -> Any:
    text = "A side in pixels, or HEIGHTxWIDTH."
    return choice((256, 256), text, read=parse_size, default="256", show_default=True)


def _model() -> Any:
    return choice("ehdran", "A model, or model.weights.")


@dataclass(frozen=True)
class Quality:
    """What ``fusekit bench quality`` computes, and the folder of its cache, trainings and results."""

    data: Path = choice(MISSING, "Folder of the datasets.", type=_PATH, envvar="FUSEKIT_DATA", metavar="DATA")
    output: Path = field(default_factory=Path)
    description: Path | None = choice(None, "JSON file of the datasets; see docs/quality.md.", type=_PATH)
    protocol: str = choice("series", "Which pairs are tested with which weights.", type=click.Choice(PROTOCOLS))
    ablation: bool = choice(False, "Train and rate base, base + L_grad, base + L_grad + DRGO instead.")
    datasets: Sequence[str] = choice((), "Datasets; all described ones by default.", metavar="NAME…")
    methods: Sequence[str] = choice(
        ("ehdran:*", "dilran:sfnn", "dilran:max", "pixel:mean", "pixel:max", "laplacian-pyramid"),
        "Rows; MODEL:* is every rule, all every model with its default rule.",
        metavar="MODEL[:RULE]…",
    )
    metrics: Sequence[str] = choice(
        ("paper", "qabf", "vif", "scd", "psnr", "ssim"),
        "Metrics and sets; float:NAME on float images, as the set paper.",
        metavar="NAME…",
    )
    rules: Sequence[str] = choice(("sfnn",), "Rules of the ablation; sfnn by default.", metavar="NAME…")
    seeds: Sequence[int] = choice(
        (3407, 3408, 3409),
        "Of the draws and the ablation's trainings; 3407 3408 3409 by default.",
        read=whole,
        metavar="NUMBER…",
    )
    weights: Mapping[str, str] = field(default_factory=dict)
    fused: Mapping[str, Path] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)
    perceptual: Path | None = choice(None, "Weights of the perceptual network.", type=_PATH)
    jobs: int = choice(1, "Processes that fuse and rate, with one thread each.")
    device: str = _device()

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise OptionError(f"unknown protocol {self.protocol!r}; choose {' or '.join(PROTOCOLS)}")
        if self.ablation and self.protocol != "series":
            raise OptionError("the ablation is tested on series that it was not trained on: leave out --protocol")
        if self.weights and (self.ablation or self.protocol == "paper"):
            raise OptionError("this protocol trains the weights itself: leave out --weights")
        if self.title != "series" and (self.fused or "all" in self.methods):
            what = "--fused" if self.fused else "--methods all"
            raise OptionError(f"{what} is of the protocol series, and this one trains what it tests: leave it out")
        _at_least(1, jobs=self.jobs)
        if not self.seeds:
            raise OptionError("give at least one seed")

    @property
    def title(self) -> str:
        """The name of the table: ``series``, ``paper`` or ``ablation``."""
        return "ablation" if self.ablation else self.protocol


@dataclass(frozen=True)
class Speed:
    """What ``fusekit bench speed`` races: every combination of the lists, or model beside model."""

    models: Sequence[str] = choice(
        ("ehdran",),
        "Models, or model.weights; ehdran by default. all is every registered one, beside ehdran.",
        metavar="NAME…",
    )
    compare: bool = choice(
        False, "One row a model, or MODEL:RULE, beside the first one; of --models all it always is so."
    )
    patience: int | None = choice(
        None,
        f"Seconds that a model may take at a size, in a comparison; {PATIENCE} by default.",
        type=int,
        metavar="SECONDS",
    )
    keep: Path | None = choice(
        None,
        "Keep each row of a comparison as it comes; the same command goes on where a killed one stopped.",
        type=_PATH,
        metavar="FOLDER",
    )
    rules: Sequence[str] = choice((), "Fusion rules; each model's own by default.", metavar="NAME…")
    sizes: Sequence[tuple[int, int]] = choice(
        ((256, 256),), "Sides in pixels, or HEIGHTxWIDTH; 256 by default.", read=parse_size, metavar="SIZE…"
    )
    batch: Sequence[int] = choice((1,), "Pairs a call; 1 by default.", read=whole, metavar="NUMBER…")
    devices: Sequence[str] = choice(("auto",), "auto, cpu, cuda or cuda:N; auto by default.", metavar="NAME…")
    forms: Sequence[str] = choice(
        ("composed",), "composed, plain, or another form that the model has; composed by default.", metavar="NAME…"
    )
    dtypes: Sequence[str] = choice(("float32",), "As of fusekit fuse; float32 by default.", metavar="NAME…")
    backends: Sequence[str] = choice((), "As of fusekit fuse; its default without.", metavar="NAME…")
    images: tuple[Path, Path] | None = choice(
        None, "Two images in place of the embedded CT and MRI.", nargs=2, type=_PATH, metavar="A B"
    )
    fit: str = choice("resample", "How images come to a size.", type=click.Choice(("resample", "mirror")))
    against: str | None = choice(
        None, "Race a function: two float32 arrays (H, W) in [0, 1] → one.", metavar="MODULE:CALLABLE"
    )
    threads: int | None = choice(None, "Threads of torch; as many as it takes by default.", type=int)
    rounds: int = choice(7, "Rounds that count.")
    warm_up: int = choice(2, "Rounds before.")
    clock: str = choice(
        "wall",
        "Of a CPU; processor is one thread's own time, on a busy machine.",
        type=click.Choice(("wall", "processor")),
    )
    reference: bool = choice(True, "Leave the authors' order of operations out, as published and tuned.")
    tuned: bool = choice(True, "Leave only the tuned one out.")
    memory: bool = choice(True, "Do not measure the peak memory.")

    def __post_init__(self) -> None:
        _at_least(1, rounds=self.rounds, warm_up=self.warm_up, batch=min(self.batch), threads=self.threads)
        _at_least(1, patience=self.patience)
        self._check_comparison()
        if self.clock == "processor" and self.threads != 1:
            raise OptionError("--clock processor adds up what several threads take; give --threads 1 with it")

    @property
    def compares(self) -> bool:
        """Whether models stand beside each other, rather than each beside the reference."""
        return self.compare or "all" in self.models

    def _check_comparison(self) -> None:
        """Raise `OptionError` for a choice that cannot apply to what is asked for."""
        given = {
            "--rules": bool(self.rules),
            "--batch": tuple(self.batch) != (1,),
            "--forms": tuple(self.forms) != ("composed",),
            "--backends": bool(self.backends),
            "--against": self.against is not None,
            "--no-reference": not self.reference,
            "--no-tuned": not self.tuned,
            "several --devices": len(self.devices) > 1,
            "several --dtypes": len(self.dtypes) > 1,
        }
        wrong = [option for option, there in given.items() if there]
        if self.compares and wrong:
            raise OptionError(
                f"{', '.join(wrong)}: choices of a race with the reference, and here models stand beside each other; "
                "leave them out (a rule stands behind its model, as --models ehdran:sfnn)"
            )
        given = {"--keep": self.keep is not None, "--patience": self.patience is not None}
        wrong = [option for option, there in given.items() if there]
        if not self.compares and wrong:
            raise OptionError(f"{', '.join(wrong)}: choices of a comparison; give --compare or --models all with it")


@dataclass(frozen=True)
class Metrics:
    """What ``fusekit bench metrics`` times."""

    images: Sequence[Path] = field(default=())
    metrics: Sequence[str] = choice((), "Ids or sets; standard, or what --against has, by default.", metavar="NAME…")
    size: int = choice(256, "Side of the sample images.")
    threads: int = choice(1, "Threads of torch.")
    repeats: int = choice(3, "Calls after the first; the quickest counts.")
    dtype: str = choice("float64", "Of our images.", type=click.Choice(("float64", "float32")))
    against: str | None = choice(
        None, "Race a mapping from ids to functions of A, B, fused.", metavar="MODULE:ATTRIBUTE"
    )

    def __post_init__(self) -> None:
        _at_least(1, threads=self.threads, repeats=self.repeats)


@dataclass(frozen=True)
class Memory:
    """What ``fusekit bench memory`` fuses, each rule in a process of its own."""

    images: Sequence[Path] = field(default=())
    size: int = choice(4096, "Side of the pair, pixels.")
    model: str = _model()
    rules: Sequence[str | None] = choice((None,), "Rules; the model's own by default.", metavar="NAME…")
    tile: str = choice("auto", "As of fusekit fuse.")
    memory: str | None = choice(None, "As of fusekit fuse.")
    device: str = _device()


@dataclass(frozen=True)
class Folder:
    """What ``fusekit bench folder`` races, and over how many pairs it follows memory."""

    pairs: int = choice(1000, "Pairs over which memory is followed; 0 for none.")
    race: int = choice(24, "Pairs of each round of the race.")
    rounds: int = choice(5, "Rounds of each method.")
    size: tuple[int, int] = _size()
    model: str = _model()
    rule: str | None = choice(None, "Fusion rule; the model's own by default.")
    device: str = _device()
    dtype: str = choice("float32", "As of fusekit fuse.")
    workers: int | None = choice(None, "Pairs fused at once; what suits the device by default.", type=int)

    def __post_init__(self) -> None:
        _at_least(1, race=self.race, rounds=self.rounds)
        _at_least(0, pairs=self.pairs)


@dataclass(frozen=True)
class Shell:
    """What ``fusekit bench shell`` times."""

    repeats: int = choice(7, "Rounds of each.")
    model: str = _model()
    size: tuple[int, int] = _size()

    def __post_init__(self) -> None:
        _at_least(1, repeats=self.repeats)
