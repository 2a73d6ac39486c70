from __future__ import annotations

import importlib
import inspect
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from helpers.paths import ROOT

from fusekit import listing
from fusekit.errors import FusekitWarning
from fusekit.registry import hooks as hookspecs
from fusekit.registry.discovery import Registries, load_plugins, registries

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

HOOKS = [name for name, value in vars(hookspecs).items() if getattr(value, "fusekit_spec", None)]
GOOD = """
    from fusekit import hookimpl

    @hookimpl
    def register_fusion_rules(register):
        register("{name}", "no_such_module:Rule", summary="a rule")
"""

MakePlugin = Callable[..., EntryPoint]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakePlugin]:
    """Return a function that writes a plugin's module and gives its entry point."""
    monkeypatch.delenv("FUSEKIT_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def make(name: str, code: str) -> EntryPoint:
        module = f"plugin_made_for_a_test_{name}"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(code))
        importlib.invalidate_caches()
        made.append(module)
        return EntryPoint(name, module, "fusekit")

    yield make
    for module in made:
        sys.modules.pop(module, None)


@pytest.fixture
def fresh_registries() -> Iterator[None]:
    registries.cache_clear()
    yield
    registries.cache_clear()


def errors(found: Registries) -> dict[str, str]:
    return {report.name: report.error for report in found.reports}


def test_a_plugin_adds_to_the_builtin_components(plugin: MakePlugin) -> None:
    found = load_plugins([plugin("good", GOOD.format(name="half"))])
    assert errors(found) == {"good": ""}
    assert found.fusion_rules.entry("half").owner == "good"
    assert {"mean", "max", "half"} <= set(found.fusion_rules.names())
    assert found.fusion_rules.entry("mean").owner == "fusekit-imaging"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("raise SystemExit('gone')", "SystemExit: gone"),
        ("def broken(:", "SyntaxError"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
    ],
)
def test_a_plugin_that_fails_at_import_is_left_out_and_the_others_stay(
    plugin: MakePlugin, code: str, message: str
) -> None:
    found = load_plugins([plugin("broken", code), plugin("good", GOOD.format(name="half"))])
    assert message in errors(found)["broken"]
    assert "\n" not in errors(found)["broken"]
    assert found.reports[0].traceback.startswith("Traceback")
    assert errors(found)["good"] == ""
    assert "half" in found.fusion_rules


def test_a_plugin_whose_hook_fails_is_left_out_whole(plugin: MakePlugin) -> None:
    code = GOOD.format(name="half") + "        raise ValueError('after the first rule')\n"
    found = load_plugins([plugin("broken", code)])
    assert errors(found) == {"broken": "ValueError: after the first rule"}
    assert "half" not in found.fusion_rules


def test_an_unknown_hook_is_an_error_that_lists_the_hooks(plugin: MakePlugin) -> None:
    code = GOOD.format(name="half") + "\n    @hookimpl\n    def register_readers(register): ...\n"
    found = load_plugins([plugin("newer", code)])
    assert "'register_readers', which this version of fusekit does not have" in errors(found)["newer"]
    assert all(hook in errors(found)["newer"] for hook in HOOKS)
    assert "half" not in found.fusion_rules


def test_a_duplicate_name_leaves_nothing_of_the_second_plugin(plugin: MakePlugin) -> None:
    second = """
        from fusekit import hookimpl

        @hookimpl
        def register_edge_operators(register):
            register("new-edge", "some_module:Edge")

        @hookimpl
        def register_fusion_rules(register):
            register("new-rule", "some_module:Rule")
            register("half", "some_module:Rule")

        @hookimpl
        def register_metrics(register):
            register("new-metric", "some_module:Metric", direction="higher")
    """
    found = load_plugins([plugin("first", GOOD.format(name="half")), plugin("second", second)])
    assert "'half' is registered by both first and second" in errors(found)["second"]
    assert found.fusion_rules.entry("half").owner == "first"
    assert "new-rule" not in found.fusion_rules
    assert "new-edge" not in found.edge_operators
    assert "new-metric" not in found.metrics


def test_no_plugin_can_take_a_builtin_name(plugin: MakePlugin) -> None:
    found = load_plugins([plugin("greedy", GOOD.format(name="mean"))])
    assert "registered by both fusekit-imaging and greedy" in errors(found)["greedy"]
    assert found.fusion_rules.entry("mean").owner == "fusekit-imaging"


def test_one_module_under_two_entry_points_is_loaded_once(plugin: MakePlugin) -> None:
    point = plugin("first", GOOD.format(name="half"))
    found = load_plugins([point, EntryPoint("second", point.value, "fusekit")])
    assert errors(found)["first"] == ""
    assert errors(found)["second"].startswith("it is loaded already, as first:first; keep one")
    assert found.fusion_rules.entry("half").owner == "first"


def test_a_model_is_registered_by_its_spec_and_nothing_else(plugin: MakePlugin) -> None:
    code = """
        from fusekit import hookimpl

        @hookimpl
        def register_models(register):
            register("tiny")
    """
    assert "pass a fusekit.ModelSpec" in errors(load_plugins([plugin("tiny", code)]))["tiny"]


@pytest.mark.parametrize(
    ("wanted", "loaded"),
    [("one", ["one"]), (" two , one", ["one", "two"]), ("", []), (",", []), ("three", [])],
)
def test_fusekit_plugins_restricts_what_is_loaded(
    plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch, wanted: str, loaded: list[str]
) -> None:
    points = [plugin("one", GOOD.format(name="rule-one")), plugin("two", GOOD.format(name="rule-two"))]
    monkeypatch.setenv("FUSEKIT_PLUGINS", wanted)
    found = load_plugins(points)
    assert [report.name for report in found.reports] == loaded
    assert [f"rule-{name}" in found.fusion_rules for name in ("one", "two")] == [n in loaded for n in ("one", "two")]
    assert "mean" in found.fusion_rules


@pytest.mark.usefixtures("fresh_registries")
def test_each_plugin_left_out_is_warned_of_in_one_line_and_once(
    plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [plugin("broken", "raise RuntimeError('two\\nlines')"), plugin("good", GOOD.format(name="half"))]
    monkeypatch.setattr("fusekit.registry.discovery.entry_points", lambda group: [*points, *points])
    with pytest.warns(FusekitWarning) as caught:
        registries()
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "the plugin 'broken' of broken is left out: RuntimeError: two lines" in message
    assert "\n" not in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = {row["name"]: row for row in listing.list_plugins()}
    assert rows["broken"]["summary"] == "left out: RuntimeError: two lines"
    assert rows["good"]["error"] == ""


def test_the_installed_plugin_loads() -> None:
    found = load_plugins()
    assert not errors(found)["ehdran"]
    assert {"ehdran", "dilran"} <= set(found.models.names())


def test_every_hook_has_a_registry_and_one_line_of_documentation() -> None:
    assert list(Registries().by_hook()) == HOOKS
    for name in HOOKS:
        text = inspect.getdoc(getattr(hookspecs, name))
        assert text, name
        assert "\n" not in text, name


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_stands_in_the_plugin_guide(hook: str) -> None:
    assert hook in (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")


def test_the_root_and_the_bundled_plugins_declare_the_same_entry_points() -> None:
    root, *bundled = [
        tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]["fusekit"]
        for folder in (ROOT, *sorted((ROOT / "plugins").iterdir()))
    ]
    assert root == {name: target for table in bundled for name, target in table.items()}
    assert "ehdran" in root


def test_names_that_nobody_declares_are_warned_of(monkeypatch):
    monkeypatch.setenv("FUSEKIT_PLUGINS", "ehdran, no-such-plugin")
    registries.cache_clear()
    try:
        with pytest.warns(FusekitWarning, match="no-such-plugin"):
            registries()
    finally:
        registries.cache_clear()
