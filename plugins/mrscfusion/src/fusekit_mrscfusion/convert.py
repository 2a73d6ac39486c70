"""Key names of the authors' published checkpoints, mapped to ours: of the autoencoder, and of the fusion network."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from fusekit.extend import WeightsError

#: Modules of a fusion block that the authors' class constructs and never calls.
UNUSED = ("axial_fusion", "conv")
#: What is computed for any size, and stands in checkpoints as buffers.
_COMPUTED = ("attn_mask", "relative_position_index")

_OURS = re.compile(r"encoder\.|decoder\.|fusion\.\d\.")

_Renaming = Callable[[re.Match[str]], str]
#: The autoencoder's names, as patterns of what comes before ``.weight`` or ``.bias``.
_AUTOENCODER: tuple[tuple[str, _Renaming], ...] = (
    (r"conv0\.conv2d", lambda _: "encoder.lift"),
    (r"DB([1-4])_0\.denseblock\.([01])\.conv2d", lambda at: f"encoder.blocks.{int(at[1]) - 1}.{at[2]}"),
    (r"DB([1-3])_([1-3])\.denseblock\.([01])\.conv2d", lambda at: f"decoder.nodes.{at[1]}{at[2]}.{at[3]}"),
    (r"conv_out\.conv2d", lambda _: "decoder.last"),
)
#: The authors call CT, PET and SPECT ``pet`` or ``ir``; their gradient blocks ``rgbd`` stand with the other source.
_SOURCES = {"mri": "mri", "pet": "other", "ir": "mri", "vi": "other"}
_GRADIENT = {
    "dense.conv1.conv": "first",
    "dense.conv2.conv": "second",
    "convdown.conv": "dense",
    "sobelconv.convx": "along_x",
    "sobelconv.convy": "along_y",
    "convup.conv": "gradient",
}
_SWIN = {
    "norm1": "norm_attention",
    "norm2": "norm_perceptron",
    "attn.proj": "attention.output",
    "mlp.fc1": "perceptron.0",
    "mlp.fc2": "perceptron.2",
}
#: The names within a fusion block.
_BLOCK: tuple[tuple[str, _Renaming], ...] = (
    (r"conv_first_(mri|pet)", lambda at: f"{_SOURCES[at[1]]}.before"),
    (r"swin_IR1_(mri|pet)\.conv", lambda at: f"{_SOURCES[at[1]]}.behind"),
    (
        rf"swin_IR1_(mri|pet)\.residual_group\.blocks\.(\d)\.({'|'.join(map(re.escape, _SWIN))})",
        lambda at: f"{_SOURCES[at[1]]}.blocks.{at[2]}.{_SWIN[at[3]]}",
    ),
    (r"conv_fusion_(mri|pet)\.0\.conv2d", lambda at: f"{_SOURCES[at[1]]}.layer"),
    (
        rf"rgbd_(ir|vi)\.({'|'.join(map(re.escape, _GRADIENT))})",
        lambda at: f"{_SOURCES[at[1]]}.gradients.{_GRADIENT[at[2]]}",
    ),
    (r"conv_after_body", lambda _: "merge"),
    (r"bottelblock\.([012])\.conv2d", lambda at: f"reduce.{at[1]}"),
)
_TABLE = re.compile(r"swin_IR1_(mri|pet)\.residual_group\.blocks\.(\d)\.attn\.relative_position_bias_table")
_JOINT = re.compile(r"swin_IR1_(mri|pet)\.residual_group\.blocks\.(\d)\.attn\.qkv\.(weight|bias)")


def from_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the authors' keys of either network, leave out `UNUSED` modules, and cast to float32.

    Keys that are ours already stay as they are; what both files hold may be given at once.

    Raises:
        WeightsError: a key belongs to neither.
    """
    converted: dict[str, Tensor] = {}
    for key, value in state.items():
        name = re.sub(r"^(module\.|nest\.|fusion\.(?=(module\.)?fusion_block))*", "", key)
        if key.endswith(_COMPUTED):
            continue
        if _OURS.match(key):
            converted[key] = value
        else:
            converted |= (
                _of_a_block(name, value, key) if name.startswith("fusion_block") else _renamed(name, value, key)
            )
    return converted


def _renamed(name: str, value: Tensor, key: str) -> dict[str, Tensor]:
    """Return the tensor of the autoencoder by our name."""
    module, _, parameter = name.rpartition(".")
    return {f"{_matched(_AUTOENCODER, module, key)}.{parameter}": value.float()}


def _of_a_block(name: str, value: Tensor, key: str) -> dict[str, Tensor]:
    """Return the tensors that one of a fusion block is by our names; none for a module that is never called."""
    head, _, rest = name.partition(".")
    number = head.removeprefix("fusion_block")
    if number not in ("1", "2", "3", "4"):
        raise _unknown(key)
    if rest.partition(".")[0] in UNUSED:
        return {}
    block, value = f"fusion.{int(number) - 1}", value.float()
    table, joint = _TABLE.fullmatch(rest), _JOINT.fullmatch(rest)
    if table is not None:
        return {f"{block}.{_SOURCES[table[1]]}.blocks.{table[2]}.attention.position_bias": value}
    if joint is not None:
        name, third = f"{block}.{_SOURCES[joint[1]]}.blocks.{joint[2]}.attention", len(value) // 3
        return {
            f"{name}.query.{joint[3]}": value[:third].clone(),
            f"{name}.key_value.{joint[3]}": value[third:].clone(),
        }
    module, _, parameter = rest.rpartition(".")
    return {f"{block}.{_matched(_BLOCK, module, key)}.{parameter}": value}


def _matched(patterns: tuple[tuple[str, _Renaming], ...], module: str, key: str) -> str:
    for pattern, ours in patterns:
        found = re.fullmatch(pattern, module)
        if found is not None:
            return ours(found)
    raise _unknown(key)


def _unknown(key: str) -> WeightsError:
    return WeightsError(f"the key {key!r} is not one of the authors' MRSCFusion")
