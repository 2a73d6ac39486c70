"""What a model was constructed with, so that its weights can say how to build it again."""

from __future__ import annotations

import inspect
import json
from typing import Any, TypeVar

_Class = TypeVar("_Class", bound="Configured")


class Configured:
    """Remembers the keyword arguments of its constructor with their defaults, as far as JSON holds them."""

    _config: dict[str, Any]

    def __new__(cls: type[_Class], *arguments: Any, **options: Any) -> _Class:
        instance = super().__new__(cls)
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        given = dict(zip((each.name for each in parameters), arguments, strict=False)) | options
        defaults = {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}
        # The instance is no module yet, and must not take this for one of its parts.
        instance.__dict__["_config"] = {key: value for key, value in (defaults | given).items() if _is_jsonable(value)}
        return instance

    @property
    def config(self) -> dict[str, Any]:
        """The keyword arguments that this model was constructed with, as far as JSON can hold them."""
        return dict(self._config)


def _is_jsonable(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
