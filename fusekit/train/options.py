"""What is trained, on what and where; how is the `fusekit.train.recipe.Recipe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusekit.cases.splits import SERIES_PATTERN
from fusekit.choices import parse_range
from fusekit.errors import TrainingError
from fusekit.options import (
    DEFAULT_MODEL,
    MAX_PIXELS,
    as_texts,
    check_mappings,
    check_nan,
    check_reading,
    choice,
    documented,
    matching,
)

#: In place of series to validate on: that nothing is to be held out.
NO_VALIDATION = "none"


@documented
@dataclass(frozen=True, kw_only=True)
class Parts:
    """The networks of a training: the one that is trained, and the one that its images are compared by."""

    model: str | None = choice(
        None, f"Model to train; that of the --init, or {DEFAULT_MODEL}, by default, unless --encoder is given."
    )
    init: str | Path | None = choice(
        None,
        "Weights to start from: a tag, a safetensors file, a folder, a run, or hub:OWNER/NAME[@REVISION]; drawn from "
        "the seed without.",
        metavar="WEIGHTS",
    )
    encoder: str | None = choice(
        None, "Train a model composed of this encoder and the --decoder; see 'fusekit list encoders'.", metavar="NAME"
    )
    decoder: str | None = choice(None, "Decoder behind the --encoder; see 'fusekit list decoders'.", metavar="NAME")
    edge: str | None = choice(
        None, "Edge operator; the model's own, or none with --encoder, by default.", metavar="NAME"
    )
    encoder_options: Mapping[str, Any] = choice(
        {}, "Option of the encoder, by its name; repeatable.", name="encoder-option", metavar="KEY=VALUE"
    )
    decoder_options: Mapping[str, Any] = choice(
        {}, "Option of the --decoder, by its name; repeatable.", name="decoder-option", metavar="KEY=VALUE"
    )
    perceptual: str | Path | None = choice(
        None,
        "Network of the perceptual term: vgg16_bn (or another VGG, from the Hub), or a weights file; the term is left "
        "out without.",
        metavar="NETWORK",
    )

    def __post_init__(self) -> None:
        check_mappings(self)


@documented
@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What is trained and validated on.

    ``folders`` hold single images, of any modality; for a bound or joint model one folder a source, matched by name,
    and, where its number of sources is fixed, so many again for each further data set.
    """

    folders: Sequence[Path]
    names: Sequence[str | Path] = choice(
        (),
        "Train on these only; a file with a name a line, or FILE.json#/key/key. One for all folders, or one a "
        "folder of single images or a data set of registered ones; repeatable.",
        metavar="FILE",
        commas=False,
    )
    match: Sequence[str] = matching()
    range: Sequence[str] = choice(
        (),
        "Stored values that are black and white, as of fusekit fuse: auto, dtype, data, percentile:1:99.5, LOW:HIGH, "
        "window:CENTER:WIDTH, window:brain (bone, lung, …) or folder; once for all folders, once a folder, or "
        "FOLDER=RANGE. auto without.",
        metavar="RANGE",
        commas=False,
    )
    nan: str = choice(
        "refuse",
        "Values that are NaN or infinite: refuse, or background (the least value of the image).",
        choices=("refuse", "background"),
    )
    page: int | None = choice(
        None, "Which image of files that hold several (stacks, animations), counted from 1.", metavar="NUMBER"
    )
    max_pixels: int = choice(
        MAX_PIXELS, "The most pixels that an image file may have, checked before memory is taken.", metavar="NUMBER"
    )
    validation_series: Sequence[str] = choice(
        (),
        f"Hold these series (patients) out and validate on them; repeatable, or separated by commas; {NO_VALIDATION} "
        "for no validation. By default the one that is nearest to a tenth of the images, where names tell series.",
        metavar="SERIES",
    )
    validation_names: str | Path | None = choice(
        None, "Validate on these; neither they nor their series are trained on.", metavar="FILE"
    )
    series_pattern: str = choice(
        SERIES_PATTERN,
        "Regular expression whose group 1 is the series in a file name without extension.",
        metavar="PATTERN",
    )

    def __post_init__(self) -> None:
        if isinstance(self.names, (str, Path)):
            object.__setattr__(self, "names", (self.names,))
        object.__setattr__(self, "range", as_texts(self.range, "range"))
        for text in self.range:
            parse_range(text.rpartition("=")[2])
        check_nan(self.nan)
        check_reading(self.page, self.max_pixels)
        if self.validation_series and self.validation_names is not None:
            raise TrainingError("validation takes either names or series, not both; leave one out")


@documented
@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """Where a training runs, and what it leaves; ``output`` is its folder, from which it is resumed."""

    output: Path
    device: str = choice("auto", "auto (a CUDA device if there is one), cpu, cuda or cuda:N.")
    save_every: int = choice(250, "Steps between validations and checkpoints, 1 or more.")
    log_every: int = choice(50, "Steps between rows of the log, 1 or more.")
    log: str = choice("csv", "log.csv, or that and event files.", choices=("csv", "tensorboard"))

    def __post_init__(self) -> None:
        if min(self.save_every, self.log_every) < 1:
            raise TrainingError("--save-every and --log-every are steps, 1 or more")
        if self.log not in ("csv", "tensorboard"):
            raise TrainingError(f"unknown log {self.log!r}; csv or tensorboard")
