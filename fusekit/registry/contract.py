"""Who is to blame: faults of a component, whoever's it is, become one error that names its plugin and the component."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from fusekit.errors import FusekitError, PluginError, one_line
from fusekit.registry.registry import Registry


class Component(NamedTuple):
    """A component as messages call it.

    Attributes:
        kind: such as ``fusion rule``.
        name: as registered, or of its class.
        owner: the distribution, or else the package, that it comes from.
    """

    kind: str
    name: str
    owner: str

    def __str__(self) -> str:
        return f"the {self.kind} {self.name!r} of {self.owner}"


def registered(registry: Registry, name: str) -> Component:
    """Return the component called ``name``, which is in the registry."""
    return Component(registry.kind, name, registry.entry(name).owner)


def component_of(kind: str, name: str, instance: object, registry: Registry) -> Component:
    """Return what to call an object: by its entry where it has one, or else by its class and package."""
    if name in registry:
        return registered(registry, name)
    return Component(kind, name or type(instance).__name__, type(instance).__module__.partition(".")[0])


@contextmanager
def calling(
    component: Component, passes: Callable[[BaseException], bool] = lambda _: False, fact: str = "failed"
) -> Iterator[None]:
    """Turn what a component raises in the block into an error that names it, and says ``fact`` of it.

    Our own errors, interruptions by the user, which reach the main thread only, and errors that ``passes`` knows as the
    machine's go through as they are. Where the error came out of a part of the component, an edge operator in an
    encoder say, the part is named.

    Raises:
        PluginError: the component raised anything else, or wanted to end the process.
    """
    try:
        yield
    except (FusekitError, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        by_user = isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()
        # So Python says that the system starts no further thread.
        of_system = isinstance(error, RuntimeError) and "can't start new thread" in str(error)
        if by_user or of_system or passes(error):
            raise
        raise PluginError(f"{_innermost(error) or component} {fact}: {one_line(error)}") from error


def fault(component: Component, fact: str, remedy: str) -> PluginError:
    """Return the error for a component that did not keep its contract."""
    return PluginError(f"{component} {fact}; {remedy}")


def _innermost(error: BaseException) -> Component | None:
    """Return the component whose method was called last on the way to the error, if its object says which it is.

    The first two frames, which are `calling` and whoever calls the component, are not on that way.
    """
    found, trace = None, error.__traceback__
    for _ in range(2):
        trace = None if trace is None else trace.tb_next
    while trace is not None:
        component = getattr(trace.tb_frame.f_locals.get("self"), "component", None)
        found = component if isinstance(component, Component) else found
        trace = trace.tb_next
    return found
