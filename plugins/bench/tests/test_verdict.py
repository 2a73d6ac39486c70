"""What a quality table says in words, on rows with given values."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusekit.cases.datasets import Dataset
from fusekit_bench.quality.methods import Measure, Method, paper_measures
from fusekit_bench.quality.table import Row, Table, summary, values
from fusekit_bench.quality.words import verdict

pytest.importorskip("pandas", reason="the table needs the extra bench")

QABF, VIF, SCD = (Measure(name) for name in ("qabf", "vif", "scd"))
DATASET = Dataset("ct-mri", Path("data"), ("ct", "mri"), paper="MRI-CT")


def row(method: Method, *replicates: dict[Measure, float], weights: str | None = "f" * 64) -> Row:
    """Return a row with one image a replicate, each measure of one value."""
    made = Row(DATASET, method)
    for number, given in enumerate(replicates):
        ratings = {each.name: {"value": value, "per_source": None, "worst": value} for each, value in given.items()}
        made.ratings[str(number)] = {"1": ratings}  # type: ignore[dict-item]
        made.facts[str(number)] = {"weights": {"sha256": weights} if weights else None}
    return made


def judged(qabf: float, vif: float, scd: float) -> dict[Measure, float]:
    return {QABF: qabf, VIF: vif, SCD: scd}


def test_a_method_must_be_ahead_of_every_baseline_in_all_measures() -> None:
    baselines = [
        row(Method("pixel", "max"), judged(0.6, 0.3, 1.4), weights=None),
        row(Method("ehdran", "sfnn"), judged(0.5, 0.1, 1.5)),
    ]
    half = row(Method("ehdran", "max"), judged(0.61, 0.31, 1.5))
    table = Table("series", [QABF, VIF, SCD], "abc", [*baselines, half])
    text = verdict(table, table.rows)[-1]
    assert text == (
        "- Ahead of pixel · max, ehdran · sfnn in all of qabf, vif, scd: none. In most of them: ehdran · max "
        "(against the best of these: qabf +0.010, vif +0.010, scd +0.000)."
    )
    table.rows.append(row(Method("ehdran", "energy"), judged(0.61, 0.31, 1.51)))
    text = verdict(table, table.rows)[-1]
    assert text == "- Ahead of pixel · max, ehdran · sfnn in all of qabf, vif, scd: ehdran · energy."
    gains = summary([*baselines, half], [QABF])["gain"][QABF.name]
    assert gains["ehdran · max"] > gains["pixel · max"] > gains["ehdran · sfnn"]


def test_the_papers_row_is_reached_in_all_or_by_how_much_it_is_not() -> None:
    measures = paper_measures()
    low = row(Method("ehdran", "max"), dict(zip(measures, (16.8, 0.76, 0.9, 0.85, 5.0), strict=True)))
    table = Table("series", measures, "abc", [low])
    (text,) = verdict(table, table.rows)
    assert text == (
        "- At or above the paper's EH-DRAN in all of psnr 16.83, ssim.padded 0.753, fmi.edge 0.883, fsim.ehdran 0.82: "
        "none. In most of them: ehdran · max (psnr -0.030, ssim.padded +0.007, fmi.edge +0.017, fsim.ehdran +0.030)."
    )
    table.rows.append(row(Method("ehdran", "l1"), dict(zip(measures, (16.83, 0.753, 0.883, 0.8196, 5.0), strict=True))))
    (text,) = verdict(table, table.rows)
    assert text.endswith("fsim.ehdran 0.82: ehdran · l1."), "figures are compared as the paper rounds them"


def quoted(psnr: float, ssim: float, fmi: float, fsim: float, entropy: float) -> dict[Measure, float]:
    return dict(zip(paper_measures(), (psnr, ssim, fmi, fsim, entropy), strict=True))


def test_the_papers_claims_hold_or_not() -> None:
    rows = [
        row(Method("ehdran", "sfnn-local"), quoted(1, 0.1, 0.1, 0.1, 1)),
        row(Method("ehdran", "sfnn"), quoted(17, 0.7, 0.9, 0.8, 9)),
        row(Method("ifcnn", "max"), quoted(15, 0.75, 0.8, 0.82, 8)),
        row(Method("ifcnn", "mean"), quoted(99, 1, 1, 1, 99)),
        row(Method("swinfusion", None), quoted(16, 0.69, 0.8, 0.7, 10)),
        row(Method("gesenet", None), quoted(99, 1, 1, 1, 99)),
    ]
    text = next(each for each in verdict(Table("series", paper_measures(), "abc", rows), rows) if "is ahead of" in each)
    assert text == (
        "- EH-DRAN, here ehdran · sfnn, is ahead of IFCNN, SwinFusion in the paper and here in psnr (17.000, "
        "swinfusion 16.000), fmi.edge (0.900, ifcnn · max 0.800); in the paper but not here in fsim.ehdran (0.800, "
        "ifcnn · max 0.820), en.float (9.000, swinfusion 10.000); neither in the paper nor here in ssim.padded (0.700, "
        "ifcnn · max 0.750)."
    )
    without = [each for each in rows if each.method.model in ("ehdran", "gesenet")]
    words = verdict(Table("series", paper_measures(), "abc", without), without)
    assert not any("is ahead of" in each for each in words), "no peer of the paper's is there"


def test_the_first_by_mean_rank_are_named() -> None:
    rows = [row(Method("pixel", rule), judged(*values)) for rule, values in {
        "max": (0.1, 0.1, 0.9), "min": (0.2, 0.2, 0.2), "mean": (0.3, 0.3, 0.3),
    }.items()]  # fmt: skip
    text = verdict(Table("series", [QABF, VIF, SCD], "abc", rows), rows)[0]
    assert text == "- First by mean rank in qabf, vif, scd: pixel · mean (1.3), pixel · max (2.3), pixel · min (2.3)."


def test_what_copying_gets_is_said() -> None:
    rows = [row(Method("pixel", rule), judged(*values)) for rule, values in {
        "max": (0.5, 0.3, 0.9), "min": (0.6, 0.1, 0.2), "mean": (0.7, 0.2, 0.2),
    }.items()]  # fmt: skip
    copies = [
        row(Method("", None, label="a copy of CT", copies=True), judged(0.8, 0.1, 0.1)),
        row(Method("", None, label="a copy of MRI", copies=True), judged(0.1, 0.05, 0.4)),
    ]
    table = Table("series", [QABF, VIF, SCD], "abc", rows, copies)
    assert (
        "- A mere copy of one source would be first in qabf (a copy of CT). Not in vif, worse source (2 of 3 methods "
        "are ahead of it); scd (1 of 3 methods are ahead of it)."
    ) in verdict(table, rows)
    assert table.by_dataset() == {"ct-mri": rows}


def test_steps_of_the_ablation_are_paired_by_seed() -> None:
    labels = ("base", "base + L_grad", "base + L_grad + DRGO")
    scores = ((1.0, 2.0), (1.5, 2.5), (1.5, 2.1))
    rows = [
        row(Method("ehdran", "max", label=f"{label} · max"), *({SCD: value} for value in seeds))
        for label, seeds in zip(labels, scores, strict=True)
    ]
    assert verdict(Table("ablation", [SCD], "abc", rows), rows) == [
        "- base → base + L_grad, rule max. scd: +0.500 ± 0.000.",
        "- base + L_grad → base + L_grad + DRGO, rule max. scd: -0.200 ± 0.283.",
    ]
    single = [row(each.method, {SCD: values([each], [SCD])[SCD.name].iloc[0]}) for each in rows]
    assert verdict(Table("ablation", [SCD], "abc", single), single)[0].endswith("scd: +0.500.")


def test_nothing_is_said_where_there_is_nothing_to_compare() -> None:
    alone = [row(Method("ehdran", "max"), judged(0.6, 0.3, 1.4))]
    assert verdict(Table("series", [QABF, VIF, SCD], "abc", alone), alone) == []
