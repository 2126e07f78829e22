"""A router as files: `router.json` beside safetensors, never a pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from dspy_router.records import ToolCard
from dspy_router.routing.catalogue import ENCODERS
from dspy_router.routing.encoders import Encoder, ModuleEncoder
from dspy_router.routing.explanation import Memory
from dspy_router.routing.many.crowd import Crowd
from dspy_router.routing.many.files import crowd_files, read_crowd
from dspy_router.routing.many.settings import IndexConfig
from dspy_router.routing.neighbours import NeighbourPolicy
from dspy_router.routing.novelty import NoveltyPolicy
from dspy_router.routing.policies import Policy, ToolSpacePolicy
from dspy_router.routing.trust.seen import SeenTexts
from dspy_router.routing.words import Vocabulary
from dspy_router.runtime.calibration import Calibration
from dspy_router.runtime.folder import TRAINABLE, read_index, signed

FORMAT_VERSION = 3  # 1 had neither a calibration nor the texts that were trained on, 2 no index of the tools
_WITHOUT_CROWD = 2  # what a router has that looks at every tool, so that earlier releases read it
_POLICIES = {"tool_space": ToolSpacePolicy, "neighbours": NeighbourPolicy, "novelty": NoveltyPolicy}


def pack(
    cards: Sequence[ToolCard],
    encoder: Encoder,
    policy: Policy,
    vocabulary: Vocabulary,
    threshold: float,
    views: Tensor | Crowd,
    memory: Memory | None,
    *,
    seen: SeenTexts,
    calibration: Calibration | None,
    index: IndexConfig,
) -> dict[str, bytes]:
    """The parts of a router as files in memory: name to content."""
    files: dict[str, bytes] = {}
    encoder_entry: dict[str, Any] = {"kind": "custom", "fingerprint": encoder.fingerprint}
    if isinstance(encoder, ModuleEncoder) and type(encoder) is ENCODERS.get(encoder.kind):
        encoder_entry.update(kind=encoder.kind, config=encoder.config)
        files.update(encoder.to_files())
    policy_entry: dict[str, Any] = {"kind": "custom", "class": type(policy).__qualname__}
    if kind := next((kind for kind, shipped in _POLICIES.items() if type(policy) is shipped), None):
        policy_entry = {"kind": kind, "config": cast(ToolSpacePolicy | NeighbourPolicy | NoveltyPolicy, policy).config}
    if isinstance(policy, nn.Module):
        files["policy.safetensors"] = save({name: _narrow(one) for name, one in policy.state_dict().items()})
    tensors, crowd = {"seen": seen.to_tensor()}, None
    if isinstance(views, Crowd):
        crowd_parts, crowd = crowd_files(views)
        files.update(crowd_parts)
    else:
        tensors["views"] = views.cpu().contiguous()
    if memory is not None:
        tensors["memory"] = memory.vectors.contiguous()
    files["tools.safetensors"] = save(tensors)
    content = {
        "format": _WITHOUT_CROWD if crowd is None else FORMAT_VERSION,
        "cards": [card.to_dict() for card in cards],
        "threshold": threshold,
        "encoder": encoder_entry,
        "policy": policy_entry,
        "vocabulary": vocabulary.to_dict(),
        "memory": None if memory is None else {"texts": memory.texts, "labels": memory.labels},
        "calibration": None if calibration is None else calibration.to_dict(),
        "index": index.to_dict(),
        **({} if crowd is None else {"crowd": crowd}),
    }
    return {TRAINABLE: signed(content, files), **files}


def _narrow(weights: Tensor) -> Tensor:
    # Half the bytes where they can hold every number, as `distill` leaves the tables of words.
    weights = weights.detach().cpu().contiguous()
    halved = weights.half()
    return halved if torch.equal(halved.to(weights.dtype), weights) else weights


def unpack(
    files: Mapping[str, bytes],
    source: str,
    *,
    encoder: Encoder | None = None,
    policy: Policy | None = None,
) -> dict[str, Any]:
    """The parts that `pack` described, as keyword arguments of `Router`.

    Args:
        files: File names to contents.
        source: What an error calls the place they came from.
        encoder: The encoder, if it is none of the shipped ones.
        policy: The policy, if it is none of the shipped ones.

    Raises:
        ValueError: If a file is missing, damaged or of a newer format, or a part of the router cannot be had.
    """
    index = read_index(files, source, name=TRAINABLE, newest=FORMAT_VERSION)
    encoder = _read_encoder(index["encoder"], files, source, encoder)
    policy = _read_policy(index["policy"], files, source, policy)
    tensors = _load_tensors(files, "tools.safetensors", source)
    memory = None
    if index["memory"] is not None:
        texts, labels = index["memory"]["texts"], index["memory"]["labels"]
        memory = Memory(tuple(texts), tuple(map(tuple, labels)), tensors["memory"])
    calibration = index.get("calibration")
    cards = [ToolCard(**card) for card in index["cards"]]
    views = tensors.get("views")
    if "crowd" in index:
        views = read_crowd(files, index["crowd"], [card.name for card in cards], source)
    return {
        "cards": cards,
        "encoder": encoder,
        "policy": policy,
        "vocabulary": Vocabulary.from_dict(index["vocabulary"]),
        "threshold": index["threshold"],
        "views": views,
        "index": IndexConfig.from_dict(index["index"]) if "index" in index else None,
        "memory": memory,
        "seen": SeenTexts.from_tensor(tensors["seen"]) if "seen" in tensors else SeenTexts(),
        "calibration": None if calibration is None else Calibration.from_dict(calibration),
    }


def _read_encoder(entry: Mapping[str, Any], files: Mapping[str, bytes], source: str, given: Encoder | None) -> Encoder:
    if given is None and entry["kind"] == "custom":
        raise ValueError(
            f"The router in {source} was saved with an encoder of its user's own; hand it over as `encoder=`."
        )
    encoder = given if given is not None else ENCODERS[entry["kind"]].from_files(entry["config"], files)
    if encoder.fingerprint != entry["fingerprint"]:
        name = entry.get("config", {}).get("name", entry["kind"])
        raise ValueError(
            f"The encoder '{name}' is not the one that the router in {source} was trained with: its fingerprint is "
            f"{encoder.fingerprint[:12]}…, expected {entry['fingerprint'][:12]}…. Its decisions would be worthless."
        )
    return encoder


def _read_policy(entry: Mapping[str, Any], files: Mapping[str, bytes], source: str, given: Policy | None) -> Policy:
    if given is None and entry["kind"] == "custom":
        raise ValueError(
            f"The router in {source} was saved with a policy of its user's own ({entry['class']}); "
            "hand an instance over as `policy=`, its weights are read from the router."
        )
    policy = given if given is not None else _POLICIES[entry["kind"]].from_config(entry["config"])
    if isinstance(policy, nn.Module):
        weights = _load_tensors(files, "policy.safetensors", source)
        try:
            policy.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"policy.safetensors in {source} does not fit the policy: {error}") from error
    return policy


def _load_tensors(files: Mapping[str, bytes], name: str, source: str) -> dict[str, Tensor]:
    try:
        tensors = load(files[name])
    except KeyError as error:
        raise ValueError(f"The router in {source} is incomplete: its file {name} is missing.") from error
    except SafetensorError as error:
        raise ValueError(f"The router in {source} is damaged: {name} is no safetensors file ({error}).") from error
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"The router in {source} is damaged: '{key}' in {name} holds values that are not numbers.")
    return tensors
