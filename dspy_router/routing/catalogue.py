"""The shipped encoders by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dspy_router.routing.controllers import GRUEncoder, TransformerEncoder
from dspy_router.routing.encoders import Encoder, HashEncoder, ModuleEncoder, SentenceEncoder
from dspy_router.routing.static import StaticEncoder

ENCODERS: Mapping[str, type[ModuleEncoder]] = {
    kind.kind: kind for kind in (HashEncoder, SentenceEncoder, StaticEncoder, GRUEncoder, TransformerEncoder)
}


def build_encoder(encoder: str | Encoder, *, device: str = "cpu", **options: Any) -> Encoder:
    """The encoder of this name, or what was given if it is one already.

    Args:
        encoder: `"minilm"`, `"hash"`, `"static"`, `"gru"`, `"transformer"`, the name or path of a sentence-transformers
            model, or an `Encoder`.
        device: Where it runs.
        options: Keyword arguments of the encoder's class, such as `trainable=True` for a sentence encoder.

    Raises:
        TypeError: If it is neither a string nor an encoder, or the class does not know an option.
        ValueError: If no model of this name can be had.
    """
    if isinstance(encoder, str) and encoder:
        if encoder in ENCODERS and encoder != SentenceEncoder.kind:
            return ENCODERS[encoder](**options).to(device)
        return SentenceEncoder(encoder, device=device, **options)
    if isinstance(encoder, Encoder):
        return encoder
    raise TypeError(
        "An encoder must be 'minilm', 'hash', 'static', 'gru', 'transformer', the name or path of a "
        "sentence-transformers model, or a callable with `dim` and `fingerprint`; "
        f"got {type(encoder).__name__}: {encoder!r:.80}."
    )
