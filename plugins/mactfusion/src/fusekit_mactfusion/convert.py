"""Key names of the authors' published checkpoint, mapped to ours."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fusekit.extend import WeightsError

#: Module prefixes of a source in the authors' names, and in ours.
_BRANCHES = {"vis": "mri", "inf": "ct"}
_LARGE = {
    "conv11.0.0": "first",
    "conv11.1": "first_norm",
    "conv33.0.0": "chain.0",
    "conv55.0.0": "chain.1",
    "conv77.0.0": "chain.2",
    "conv11_.0.0": "large",
    "conv11_.1": "large_norm",
    "conv33_.0.0": "back.0",
    "conv55_.0.0": "back.1",
    "conv77_.0.0": "back.2",
}
_GRADIENT = {
    "dense.conv1.conv": "first",
    "dense.conv2.conv": "second",
    "convdown.conv": "dense",
    "sobelconv.convx": "along_x",
    "sobelconv.convy": "along_y",
    "convup.conv": "gradient",
}
_CONVOLUTIONS = {
    "main_path.0": "norm",
    "main_path.1.conv_dw": "depthwise",
    "main_path.1.bn1": "depthwise_norm",
    "main_path.1.conv_pw": "pointwise",
    "main_path.1.bn2": "pointwise_norm",
    "main_path.3": "project",
}
_ATTENTION = {
    "attention.q": "query",
    "attention.kv": "key_value",
    "attention.proj": "project",
    "norm_1": "norm",
    "norm_2": "perceptron.0",
    "mlp.fc1": "perceptron.1",
    "mlp.fc2": "perceptron.3",
}
_ADAPTATION = {"conv_shared.0": "shared", "conv_gamma": "gamma", "conv_beta": "beta"}


def _under(theirs: str, ours: str, names: Mapping[str, str]) -> dict[str, str]:
    return {f"{theirs}.{old}": f"{ours}.{new}" for old, new in names.items()}


#: The modules of a source in the authors' names, without the prefix, and in ours.
_OF_A_BRANCH = {
    **_under("conv", "large", _LARGE),
    **_under("rgbd1", "gradients.0", _GRADIENT),
    **_under("rgbd2", "gradients.1", _GRADIENT),
    **_under("max.mb1_conv", "attention.convolutions", _CONVOLUTIONS),
    **_under("max.block_transformer", "attention.window", _ATTENTION),
    **_under("max.grid_transformer", "attention.grid", _ATTENTION),
    **_under("cross.t1_adap_1", "cross.adaptation", _ADAPTATION),
    **_under("cross.sam.mb1_conv", "cross.own_convolutions", _CONVOLUTIONS),
    **_under("cross.sam.mb2_conv", "cross.other_convolutions", _CONVOLUTIONS),
    **_under("cross.sam.block_transformer", "cross.window", _ATTENTION),
    **_under("cross.sam.grid_transformer", "cross.grid", _ATTENTION),
    "cross.select1.conv": "cross.select",
}
_MODULES = {
    **{f"{theirs}_{old}": f"{ours}.{new}" for theirs, ours in _BRANCHES.items() for old, new in _OF_A_BRANCH.items()},
    **{f"decode.{index}.conv2d": f"decoder.layers.{index}" for index in range(3)},
}
#: Modules that the authors' class constructs and never calls.
UNUSED = (
    "vis_max.mb2_conv.",
    "vis_cross.t1_adap_1.conv_noshared.",
    "inf_max.mb2_conv.",
    "inf_cross.t1_adap_1.conv_noshared.",
)
#: Of the attention, beside its modules: the table of biases, and the joint map of query, key and value.
_TABLE, _JOINT, _INDEX = "attention.relative_position_bias_table", "attention.qkv_mapping", "relative_position_index"


def from_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the authors' keys, leave out modules in `UNUSED`, and cast to float32.

    A state dict that has our names already is returned as it is.

    Raises:
        WeightsError: a key belongs to neither.
    """
    state = {key.removeprefix("module."): value for key, value in state.items()}
    if any(key.startswith("mri.") for key in state):
        return state
    converted: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.startswith(UNUSED) or key.endswith(_INDEX):
            continue
        value = value.float() if value.is_floating_point() else value
        module, _, parameter = key.rpartition(".")
        if key.endswith(_TABLE):
            converted[f"{_attention(key, _TABLE, key)}.offset_bias"] = value
        elif module.endswith(_JOINT):
            name, third = _attention(module, _JOINT, key), len(value) // 3
            converted[f"{name}.query.{parameter}"] = value[:third].clone()
            converted[f"{name}.key_value.{parameter}"] = value[third:].clone()
        elif module in _MODULES:
            converted[f"{_MODULES[module]}.{parameter}"] = value
        else:
            raise _unknown(key)
    # The authors' exports may leave out the counters, which evaluation does not use.
    for name in [key for key in converted if key.endswith(".running_mean")]:
        converted.setdefault(f"{name.removesuffix('running_mean')}num_batches_tracked", torch.tensor(0))
    return converted


def _attention(part: str, ending: str, key: str) -> str:
    """Return our name of the attention of the authors' whose ``part`` ends so."""
    found = _MODULES.get(part.removesuffix(ending) + "attention.proj")
    if found is None:
        raise _unknown(key)
    return found.removesuffix(".project")


def _unknown(key: str) -> WeightsError:
    return WeightsError(f"the key {key!r} is not one of the authors' MACTFusion")
