"""Forms and backends of a model: what computes it, with the plain modules as the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from fusekit.errors import DeviceError, OptionError
from fusekit.machine.backends import Choice, check_name, choose
from fusekit.machine.probation import KernelTrial, Verdict
from fusekit.registry.specs import ModelSpec

_Forms = TypeVar("_Forms", bound="Forms")


class Forms(nn.Module):
    """What every `FusionModel` can be asked to run as; a model with more than plain modules overrides parts of it."""

    spec: ModelSpec
    #: Forms that the model has; the last but ``compile`` is the fastest that needs nothing else. See `use_form`.
    forms: tuple[str, ...] = ("plain",)
    #: The form asked for, of `forms`, or ``fastest``.
    asked_form: str = "plain"
    #: ``auto``, ``torch`` or ``triton``; see `use_backend`.
    asked_backend: str = "auto"

    @property
    def form(self) -> str:
        """What runs where no gradients are asked for: ``plain``, or the name of a faster form of the same function.

        Here: ``composed`` for a model that has such a form, unless ``plain`` was asked for or the model is trained.
        """
        plain = "composed" not in self.forms or self.asked_form == "plain" or self.training
        return "plain" if plain else "composed"

    def runs_plain(self, *inputs: Tensor) -> bool:
        """Return whether the plain modules must compute something of these inputs: by the form, or for gradients."""
        graded = torch.is_grad_enabled() and any(each.requires_grad for each in (*inputs, *self.parameters()))
        return graded or self.form == "plain"

    def use_form(self: _Forms, form: str) -> _Forms:
        """Let the model run a form of its own, the same function but for rounding; return the model.

        The modules that hold the weights stay as they are: parameters, state dict, saving and moving are not touched.
        Models that have such a form name it in `forms`, and look at `runs_plain` where they compute; those that have
        another one than ``composed``, or not always, override `form`.
        A form follows later changes of the weights, and does not run in training mode or where gradients are asked for.

        Args:
            form: ``fastest`` (that needs no compiler), ``plain`` for the modules as they are written, or the name of
                another one of `forms`, as ``composed`` or ``compile`` (by torch.compile).

        Raises:
            OptionError: the model has no form of that name.
        """
        if form not in ("fastest", *self.forms):
            known = ", ".join(("fastest", *self.forms))
            raise OptionError(f"the model {self.spec.id!r} has no form {form!r}; choose {known}")
        self.asked_form = form
        return self

    @property
    def backend(self) -> str:
        """What computes the model where it is now: ``torch``, or ``triton`` where its kernels can serve."""
        return self.backend_choice.backend

    @property
    def backend_choice(self) -> Choice:
        """The backend, and why it is not the one that ``auto`` would rather have taken."""
        return choose(
            self.asked_backend, self.device, self.dtype, self.kernels_refusal, self._verdict_on_kernels, self.spec.id
        )

    @property
    def device(self) -> torch.device:
        """Where the parameters are; the CPU for a model without any."""
        parameter = next(self.parameters(), None)
        return parameter.device if parameter is not None else torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters; float32 for a model without any."""
        parameter = next(self.parameters(), None)
        return parameter.dtype if parameter is not None else torch.float32

    def use_backend(self: _Forms, backend: str) -> _Forms:
        """Let ``auto``, ``torch`` or ``triton`` compute the model; return the model.

        Raises:
            OptionError: there is no such backend.
            DeviceError: it cannot serve this model, as it is, on its device in its dtype.
        """
        check_name(backend)
        before, self.asked_backend = self.asked_backend, backend
        try:
            _ = self.backend_choice
        except DeviceError:
            self.asked_backend = before
            raise
        return self

    def kernels_refusal(self, backend: str) -> str | None:
        """Return why the model, as it is, has no kernels of ``backend`` to run, or ``None`` where it has.

        Models that bring kernels override this, ask `backend` where they compute, leave device and dtype to it, and
        name the trials of `kernel_trials`.
        """
        return f"the model has no kernels for {backend}"

    def kernel_trials(self, backend: str) -> Mapping[str, KernelTrial]:
        """Return what proves the model's kernels of ``backend`` on its device in its dtype, a trial each family.

        Models that bring kernels override this; ``auto`` takes none without a trial. Each is run once, on part of the
        embedded CT and MRI (2, 1, H, W), before the first use on a device, and what came of it is kept for that device
        and these versions. So weights must be fixed ones, and names say what else a family depends on, such as a number
        of channels. It is asked for with every image: compute in the trials.
        """
        return {}

    def _verdict_on_kernels(self, backend: str, prove: bool) -> Verdict:
        from fusekit.models.trials import verdict_on

        return verdict_on(self, backend, self.device, self.dtype, prove)
