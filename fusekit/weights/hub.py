"""huggingface_hub's mixin for models, imported only when a model is saved or read by it.

Importing the hub's client takes as long as fusing several small pairs, and a model from a file on this machine needs
nothing of it. So models derive from `OnHub`, which notes what they were constructed with, and hands on to the mixin.
"""

from __future__ import annotations

import functools
import inspect
import json
import types
from typing import Any, TypeVar

_Class = TypeVar("_Class", bound="OnHub")


class OnHub:
    """Saving and loading as of ``huggingface_hub.PyTorchModelHubMixin``, whose arguments these methods take.

    Subclasses define ``_save_pretrained`` and the class method ``_from_pretrained``, as those of the mixin do.
    """

    #: The keyword arguments of the constructor with their defaults, as far as JSON holds them.
    _hub_mixin_config: dict[str, Any] | None = None

    def __new__(cls: type[_Class], *arguments: Any, **options: Any) -> _Class:
        instance = super().__new__(cls)
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        given = dict(zip((each.name for each in parameters), arguments, strict=False)) | options
        defaults = {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}
        config = {key: value for source in (defaults, given) for key, value in source.items() if _is_jsonable(value)}
        # The instance is no module yet, and must not take this for one of its parts.
        instance.__dict__["_hub_mixin_config"] = config or None
        return instance

    def save_pretrained(self, *arguments: Any, **options: Any) -> str | None:
        """Write weights, configuration and model card into a folder; return the commit's address if it is pushed."""
        found: str | None = _view(self).save_pretrained(*arguments, **options)
        return found

    def push_to_hub(self, *arguments: Any, **options: Any) -> str:
        """Upload weights, configuration and model card to the hub and return the commit's address."""
        found: str = _view(self).push_to_hub(*arguments, **options)
        return found

    def generate_model_card(self, *arguments: Any, **options: Any) -> Any:
        """Return the model card that `save_pretrained` writes."""
        return _view(self).generate_model_card(*arguments, **options)

    @classmethod
    def from_pretrained(cls: type[_Class], *arguments: Any, **options: Any) -> _Class:
        """Build the model that a folder or a repository of the hub describes, and read its weights."""
        kind: Any = cls
        found: _Class = _hub_class(kind).from_pretrained(*arguments, **options)
        return found


def _is_jsonable(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def _view(model: OnHub) -> Any:
    """Return the same model, of a class that derives from the mixin too."""
    kind: Any = type(model)
    view = object.__new__(_hub_class(kind))
    view.__dict__ = model.__dict__
    return view


@functools.cache
def _hub_class(cls: Any) -> Any:
    """Return a class that derives from the mixin, which is asked first, and from ``cls``, which writes and reads."""
    from huggingface_hub import PyTorchModelHubMixin

    def _from_pretrained(_: Any, /, **given: Any) -> Any:
        return cls._from_pretrained(**given)

    own = {
        "__module__": cls.__module__,
        "__doc__": cls.__doc__,
        "_save_pretrained": cls._save_pretrained,
        "_from_pretrained": classmethod(_from_pretrained),
    }
    names = {"library_name": "fusekit", "repo_url": "https://github.com/fusekit/fusekit"}
    return types.new_class(cls.__name__, (PyTorchModelHubMixin, cls), names, lambda namespace: namespace.update(own))
