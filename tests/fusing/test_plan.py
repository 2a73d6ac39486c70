"""Whether and how images are cut into tiles: the amounts, the estimate, the budget."""

from __future__ import annotations

import pytest
import torch
from helpers.tiles import pair, run

from fusekit.errors import OptionError, memory_text
from fusekit.fusing.plan import NotTiled, Plan, bytes_a_pixel, make_plan, probe
from fusekit.machine.memory import CPU_MEMORY, budget_of
from fusekit.models.base import FusionModel
from fusekit.options import FuseOptions, parse_memory, parse_tile

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (12345, 12345),
        ("12345", 12345),
        ("2GiB", 2 << 30),
        ("1.5 GB", 1_500_000_000),
        ("800MiB", 800 << 20),
        ("64m", 64_000_000),
        ("3KiB", 3072),
        ("1TiB", 1 << 40),
    ],
)
def test_amounts_of_memory(given: str | int | None, expected: int | None) -> None:
    assert parse_memory(given) == expected


@pytest.mark.parametrize("given", ["", "much", "-1GiB", "0", 0, "2 PiB", "GiB", "0.1"])
def test_what_is_no_amount_of_memory(given: str | int) -> None:
    with pytest.raises(OptionError, match="not an amount of memory; give it as 2GiB"):
        FuseOptions(memory=given)


def test_choices_of_tiles() -> None:
    assert [parse_tile(each) for each in ("auto", "off", "64", 512)] == ["auto", "off", 64, 512]
    for given in ("on", "15", 3, "-64", "1.5"):
        with pytest.raises(OptionError, match="auto, off, or a side of 16 pixels or more"):
            FuseOptions(tile=given)


def planned(model: FusionModel, rule: str | None, size: tuple[int, int], memory: str) -> Plan | NotTiled | None:
    sources = [torch.from_numpy(unit)[None, None] for unit in pair(*size)]
    with torch.inference_mode():
        return make_plan(model, model.choose_rule(rule), sources, "auto", parse_memory(memory))


@pytest.mark.parametrize("rule", ["max", "l1", "energy", "sfnn", "sfnn-local"])
def test_plans_keep_to_the_budget(models: dict[str, FusionModel], rule: str) -> None:
    model, size = models["ehdran"], (600, 700)
    chosen = model.choose_rule(rule)
    assert chosen is not None
    for memory in ("300MiB", "150MiB"):
        plan = planned(model, rule, size, memory)
        assert isinstance(plan, Plan)
        largest = max(
            (tile.seen[0].stop - tile.seen[0].start) * (tile.seen[1].stop - tile.seen[1].start) for tile in plan.tiles()
        )
        features = probe(model, [torch.rand(1, 1, 600, 700)])
        assert features is not None
        assert model.reach is not None
        a_pixel = bytes_a_pixel(features, model.reach, chosen, 2)
        kept = 2 * features.bytes_a_pixel * 600 * 700 if plan.keep else 0
        # Windows begin and end at multiples, so that one may be a few pixels larger.
        assert plan.survey_memory + kept + a_pixel * largest <= plan.memory * 1.1
    assert planned(model, rule, size, "8GiB") is None


def test_estimate_of_memory(models: dict[str, FusionModel]) -> None:
    model = models["ehdran"]
    features = probe(model, [torch.rand(1, 1, 100, 90)] * 2)
    assert features is not None
    assert features.shapes == ((1, 64, 100, 90),)
    assert features.bytes_a_pixel == 64 * 4
    assert model.reach is not None
    assert bytes_a_pixel(features, model.reach, model.choose_rule("max"), 2) == 256 * (2 + 2)
    assert bytes_a_pixel(features, model.reach, model.choose_rule("mean"), 3) == 256 * (3 + 3 * 2)
    plain = model.reach._replace(working=12.0)
    assert bytes_a_pixel(features, plain, model.choose_rule("max"), 2) == 256 * (2 + 12)


def test_the_budget_by_default() -> None:
    assert budget_of(CPU, None) == CPU_MEMORY
    assert budget_of(CPU, 5) == 5


def test_small_images_are_not_looked_at(models: dict[str, FusionModel], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusekit.fusing.plan.probe", lambda *_: pytest.fail("an ordinary image was probed"))
    assert run(models["ehdran"], pair(256, 256), "max").tiles is None


def test_too_little_memory_says_how_much_suffices(models: dict[str, FusionModel]) -> None:
    with pytest.raises(OptionError, match=r"does not suffice .* give --memory (\d+)MiB or more") as caught:
        planned(models["ehdran"], "l1", (600, 700), "2MiB")
    enough = str(caught.value).split("--memory ")[1].split()[0]
    assert isinstance(planned(models["ehdran"], "l1", (600, 700), enough), Plan)


def test_memory_in_words() -> None:
    assert [memory_text(each) for each in (3 << 30, 5 << 20)] == ["3.00 GiB", "5 MiB"]


def test_volumes_are_not_tiled(models: dict[str, FusionModel]) -> None:
    model, volumes = models["pixel"], [torch.rand(1, 1, 8, 9, 10)] * 2
    assert isinstance(make_plan(model, model.choose_rule("max"), volumes, "auto", 1), NotTiled)
    with pytest.raises(OptionError, match="volumes"):
        make_plan(model, model.choose_rule("max"), volumes, 64, None)
