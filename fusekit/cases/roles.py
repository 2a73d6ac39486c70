"""What each source is to a model that tells its sources apart."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusekit.errors import FusekitWarning, InputError, OptionError, UnknownNameError
from fusekit.options import whole_number
from fusekit.registry.specs import ModelSpec, alternatives


def check_roles(spec: ModelSpec, roles: Mapping[str, str | int]) -> None:
    """Check that a model has the roles that were given, all of them; say so where it goes by the sources' order.

    Raises:
        OptionError: the model does not tell its sources apart, has no such role, or one that was not given.
    """
    listed = ", ".join(spec.roles)
    if roles and not spec.roles:
        raise OptionError(
            f"the model {spec.id!r} does not tell its sources apart; leave out --role {next(iter(roles))}"
        )
    given: dict[str, str] = {}
    for word in roles:
        role = spec.role_of(word)
        if role is None:
            known = [word for role in spec.roles for word in alternatives(role)]
            raise UnknownNameError(f"role of the model {spec.id!r}", word, known)
        if role in given:
            raise OptionError(f"the model {spec.id!r} takes one source for {role}; give {given[role]!r} or {word!r}")
        given[role] = word
    missing = [role for role in spec.roles if role not in given]
    if roles and missing:
        raise OptionError(f"the model {spec.id!r} fuses {listed}; say which source is {missing[0]!r}, as --role")
    if missing:
        warnings.warn(
            f"the model {spec.id!r} takes the sources for {listed}, in their order; "
            f"--role {alternatives(missing[0])[0]}=SOURCE says otherwise",
            FusekitWarning,
            stacklevel=3,
        )


def numbered(roles: Mapping[str, str | int], sources: Sequence[Any]) -> dict[str, int]:
    """Return which source each role is given to, counted from 1.

    Raises:
        OptionError: a role is given to no source, or two to one.
    """
    paths = [Path(each) if isinstance(each, (str, Path)) else None for each in sources]
    found: dict[str, int] = {}
    for role, source in roles.items():
        if Path(str(source)) in paths:
            number = paths.index(Path(str(source))) + 1
        elif 1 <= (whole_number(source) or 0) <= len(sources):
            number = whole_number(source) or 0
        else:
            raise OptionError(f"the role {role!r} is given to {source}, which is none of the {len(sources)} sources")
        if number in found.values():
            raise OptionError(f"source {number} is given two roles, {role!r} is the second; give each its own")
        found[role] = number
    return found


def in_order_of_roles(spec: ModelSpec, sources: Sequence[Any], roles: Mapping[str, str | int]) -> list[Any]:
    """Return the sources in the order in which the model takes them.

    Raises:
        InputError: there are not as many sources as the model has roles.
        OptionError: a role is given to no source, or two to one.
    """
    if spec.roles and len(sources) != len(spec.roles):
        raise InputError(f"the model {spec.id!r} fuses {', '.join(spec.roles)}, and {len(sources)} sources were given")
    if not roles:
        return list(sources)
    places = {spec.role_of(word): number for word, number in numbered(roles, sources).items()}
    return [sources[places[role] - 1] for role in spec.roles]
