"""Registers what is broken; each component's name says how."""

from __future__ import annotations

from collections.abc import Callable

from fusekit import ModelSpec, hookimpl

RULES = {
    "wrong-shape": "WrongShape",
    "a-tuple": "ATuple",
    "none-at-all": "NoneAtAll",
    "wrong-dtype": "WrongDtype",
    "exception": "Raises",
    "sys-exit": "Exits",
    "mutates": "Mutates",
    "not-a-number": "NotANumber",
    "wrong-signature": "WrongSignature",
    "import-exits": "",
    "report": "Reports",
    "survey": "Surveys",
}
METRICS = {
    "metric-shape": "WrongShape",
    "metric-tuple": "ATuple",
    "metric-none": "NoneAtAll",
    "metric-dtype": "WrongDtype",
    "metric-mutates": "Mutates",
    "metric-nan": "NotANumber",
    "metric-exits": "Exits",
    "metric-dark": "FailsInTheDark",
}


@hookimpl
def register_fusion_rules(register: Callable[..., None]) -> None:
    for name, found in RULES.items():
        register(name, f"fusekit_broken.rules:{found}" if found else "fusekit_broken.exits:Rule")


@hookimpl
def register_metrics(register: Callable[..., None]) -> None:
    for name, found in METRICS.items():
        register(name, f"fusekit_broken.metrics:{found}", direction="lower")


@hookimpl
def register_encoders(register: Callable[..., None]) -> None:
    register("wrong-channels", "fusekit_broken.parts:WrongChannels")


@hookimpl
def register_edge_operators(register: Callable[..., None]) -> None:
    register("edge-shape", "fusekit_broken.parts:WrongShape")


@hookimpl
def register_models(register: Callable[..., None]) -> None:
    def spec(name: str, factory: str, **config: str) -> ModelSpec:
        return ModelSpec(name, f"fusekit_broken.model:{factory}", "broken", config, default_rule="mean")

    register(spec("of-wrong-channels", "OfParts", encoder="wrong-channels"))
    register(spec("of-wrong-edges", "OfParts", encoder="with-edges", edge="edge-shape"))
    register(spec("cannot-be-made", "CannotBeMade"))
    register(spec("image-not-finite", "NotFinite"))


@hookimpl
def register_formats(register: Callable[..., None]) -> None:
    register("wrong-thing", "fusekit_broken.files:WrongThing", extensions=(".wrong",))
    register("reading-exits", "fusekit_broken.files:Exits", extensions=(".exits",))


@hookimpl
def register_aligners(register: Callable[..., None]) -> None:
    register("another-grid", "fusekit_broken.files:AnotherGrid")
    register("aligning-exits", "fusekit_broken.files:AligningExits")
    register("aligning-mutates", "fusekit_broken.files:AligningMutates")


@hookimpl
def register_executors(register: Callable[..., None]) -> None:
    register("executor-exits", "fusekit_broken.running:Exits")


@hookimpl
def register_commands(register: Callable[..., None]) -> None:
    register("absent", "fusekit_broken.absent:command", summary="Cannot be imported.")
    register("no-command", "fusekit_broken.running:no_command", summary="Is no command.")
    register("fails", "fusekit_broken.running:fails", summary="Raises an error.")
