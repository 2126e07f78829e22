"""A router as files: `router.json` beside safetensors, never a pickle."""

from __future__ import annotations

import glob
import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from dspy_router.records import ToolCard
from dspy_router.routing.calibration import Calibration
from dspy_router.routing.catalogue import ENCODERS
from dspy_router.routing.encoders import Encoder, ModuleEncoder
from dspy_router.routing.explanation import Memory
from dspy_router.routing.neighbours import NeighbourPolicy
from dspy_router.routing.novelty import NoveltyPolicy
from dspy_router.routing.policies import Policy, ToolSpacePolicy
from dspy_router.routing.trust.seen import SeenTexts
from dspy_router.routing.words import Vocabulary

FORMAT_VERSION = 2  # 1 had neither a calibration nor the texts that were trained on
_INDEX = "router.json"
_POLICIES = {"tool_space": ToolSpacePolicy, "neighbours": NeighbourPolicy, "novelty": NoveltyPolicy}
# A remembered query may hold half a surrogate pair, as JSON does; `json.loads` reads it back.
_UTF8: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogatepass"}


def pack(
    cards: Sequence[ToolCard],
    encoder: Encoder,
    policy: Policy,
    vocabulary: Vocabulary,
    threshold: float,
    views: Tensor,
    memory: Memory | None,
    *,
    seen: SeenTexts,
    calibration: Calibration | None,
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
        files["policy.safetensors"] = save({k: v.detach().cpu().contiguous() for k, v in policy.state_dict().items()})
    tensors = {"views": views.cpu().contiguous(), "seen": seen.to_tensor()}
    if memory is not None:
        tensors["memory"] = memory.vectors.contiguous()
    files["tools.safetensors"] = save(tensors)
    index = {
        "format": FORMAT_VERSION,
        "cards": [card.to_dict() for card in cards],
        "threshold": threshold,
        "encoder": encoder_entry,
        "policy": policy_entry,
        "vocabulary": vocabulary.to_dict(),
        "memory": None if memory is None else {"texts": memory.texts, "labels": memory.labels},
        "calibration": None if calibration is None else calibration.to_dict(),
        "digests": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
    }
    # The index vouches for the other files, and its last entry for itself.
    body = json.dumps(index, ensure_ascii=False, sort_keys=True)
    signed = json.dumps({**index, "digest": _sha256(body)}, ensure_ascii=False, indent=1)
    return {_INDEX: signed.encode(**_UTF8), **files}


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
    index = _read_index(files, source)
    for name, digest in index["digests"].items():
        if name not in files:
            raise ValueError(f"The router in {source} is incomplete: its file {name} is missing.")
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise ValueError(
                f"The router in {source} is damaged: {name} is not what was saved (its digest differs). "
                "It was truncated or edited; restore it from a copy, or save the router again."
            )
    encoder = _read_encoder(index["encoder"], files, source, encoder)
    policy = _read_policy(index["policy"], files, source, policy)
    tensors = _load_tensors(files, "tools.safetensors", source)
    memory = None
    if index["memory"] is not None:
        texts, labels = index["memory"]["texts"], index["memory"]["labels"]
        memory = Memory(tuple(texts), tuple(map(tuple, labels)), tensors["memory"])
    calibration = index.get("calibration")
    return {
        "cards": [ToolCard(**card) for card in index["cards"]],
        "encoder": encoder,
        "policy": policy,
        "vocabulary": Vocabulary.from_dict(index["vocabulary"]),
        "threshold": index["threshold"],
        "views": tensors["views"],
        "memory": memory,
        "seen": SeenTexts.from_tensor(tensors["seen"]) if "seen" in tensors else SeenTexts(),
        "calibration": None if calibration is None else Calibration.from_dict(calibration),
    }


def write_folder(files: Mapping[str, bytes], folder: Path) -> None:
    """Write a router's files to a folder: whole under a temporary name, then renamed into place.

    Raises:
        FileExistsError: If the folder holds other files than a router's, or is a file.
    """
    if folder.is_file():
        raise FileExistsError(f"'{folder}' is a file; give the name of a new folder or of a router's.")
    if strangers := _strangers(folder):
        raise FileExistsError(
            f"'{folder}' holds other files than a router's ({', '.join(strangers[:3])}), and saving replaces the whole "
            "folder; give the name of a new folder or of a router's."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex[:8]
    fresh, old = folder.with_name(f".{folder.name}.{mark}.new"), folder.with_name(f".{folder.name}.{mark}.old")
    try:
        for name, data in files.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def _strangers(folder: Path) -> list[str]:
    """The files of a folder that are no router's: saving over them would lose them."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    try:
        known = {_INDEX, *json.loads((folder / _INDEX).read_bytes())["digests"]}
    except (OSError, ValueError, KeyError, TypeError):
        known = {_INDEX, "policy.safetensors", "tools.safetensors", "encoder.safetensors"} if _INDEX in names else set()
    return sorted(names - known)


def read_folder(folder: Path) -> dict[str, bytes]:
    """The files of a router's folder: name to content.

    Raises:
        FileNotFoundError: If there is no router in the folder.
    """
    left = sorted(folder.parent.glob(f".{glob.escape(folder.name)}.*.old"))
    if not folder.exists() and left:
        raise FileNotFoundError(
            f"There is no router in '{folder}', but a save was killed just before its end: the router as it was before "
            f"is in '{left[-1]}'. Rename that to '{folder.name}'."
        )
    if not (folder / _INDEX).is_file():
        raise FileNotFoundError(f"There is no router in '{folder}': expected a folder with a {_INDEX}.")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(**_UTF8)).hexdigest()


def _read_index(files: Mapping[str, bytes], source: str) -> dict[str, Any]:
    try:
        index = json.loads(files[_INDEX])
        version = index["format"]
    except KeyError as error:
        raise ValueError(f"The router in {source} is incomplete: {error.args[0]} is missing.") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"The router in {source} is damaged: {_INDEX} is no valid JSON object ({error}).") from error
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise ValueError(
            f"The router in {source} has format version {version}; this release reads versions up to {FORMAT_VERSION}. "
            "Upgrade dspy-router to load it."
        )
    digest = index.pop("digest", None)
    body = json.dumps(index, ensure_ascii=False, sort_keys=True)
    if _sha256(body) != digest:
        raise ValueError(
            f"The router in {source} is damaged: {_INDEX} is not what was saved (its digest differs). "
            "Change a router through its methods and save it again, rather than by editing the file."
        )
    return index


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
