"""The specs of the models that the core brings; importing it is cheap."""

from __future__ import annotations

from fusekit.registry.specs import ModelSpec

#: What ``fusekit train --encoder … --decoder …`` makes; its weights say which parts they belong to.
COMPOSED = ModelSpec(
    id="composed",
    factory="fusekit.models.composed:Composed",
    summary="any registered encoder, edge operator and decoder, trained with fusekit train --encoder",
    config={"encoder": "", "edge": "none", "decoder": ""},
    default_rule="l1-local",
    normalization="minmax",
    output="clamp",
    licence="Apache-2.0",
)
