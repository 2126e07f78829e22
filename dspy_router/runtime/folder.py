"""A router's folder: written whole or not at all, read with every file's digest checked."""

from __future__ import annotations

import glob
import hashlib
import json
import mmap
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

# A remembered query may hold half a surrogate pair, as JSON does; `json.loads` reads it back.
_UTF8: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogatepass"}
# The index of a folder tells what is in it: a router with all that training needs, or one that only decides.
TRAINABLE, EXPORTED = "router.json", "exported.json"
_CALLS = {
    TRAINABLE: " It holds one that can be trained: Router.load reads it, and its export makes this.",
    EXPORTED: " It holds an exported one: ExportedRouter.load reads it, as does Router.load(…, runtime='onnx').",
}
_A = {TRAINABLE: f"a {TRAINABLE}", EXPORTED: f"an {EXPORTED}"}
# What lies below this is not read but mapped into memory: arrays of which a decision needs some pages.
MAPPED = "crowd/"
_OTHERS = ", or belongs to a router of other tools"
_USUAL = {TRAINABLE, EXPORTED, "policy.safetensors", "tools.safetensors", "encoder.safetensors"}


def signed(index: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """An index that vouches for these files, and with its last entry for itself."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    whole = {**index, "digests": digests}
    body = json.dumps(whole, ensure_ascii=False, sort_keys=True)
    return json.dumps({**whole, "digest": _sha256(body)}, ensure_ascii=False, indent=1).encode(**_UTF8)


def read_index(files: Mapping[str, bytes], source: str, *, name: str, newest: int) -> dict[str, Any]:
    """The index of a router's files, once it and they are known to be what was saved.

    Args:
        files: File names to contents.
        source: What an error calls the place they came from.
        name: The index's own name.
        newest: The newest format that is understood.

    Raises:
        ValueError: If a file is missing or damaged, or the format is a newer one.
    """
    try:
        index = json.loads(files[name])
        version = index["format"]
    except KeyError as error:
        raise ValueError(f"The router in {source} is incomplete: {error.args[0]} is missing.") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"The router in {source} is damaged: {name} is no valid JSON object ({error}).") from error
    if not isinstance(version, int) or version > newest:
        raise ValueError(
            f"The router in {source} has format version {version}; this release reads versions up to {newest}. "
            "Upgrade dspy-router to load it."
        )
    digest = index.pop("digest", None)
    if _sha256(json.dumps(index, ensure_ascii=False, sort_keys=True)) != digest:
        raise ValueError(
            f"The router in {source} is damaged: {name} is not what was saved (its digest differs). "
            "Change a router through its methods and save it again, rather than by editing the file."
        )
    for file, wanted in index["digests"].items():
        if file not in files:
            raise ValueError(f"The router in {source} is incomplete: its file {file} is missing.")
        if hashlib.sha256(files[file]).hexdigest() != wanted:
            raise ValueError(
                f"The router in {source} is damaged: {file} is not what was saved (its digest differs). It was "
                f"truncated or edited{_OTHERS if file.startswith(MAPPED) else ''}; restore it from a copy, or save the "
                "router again."
            )
    return index


def write_folder(files: Mapping[str, bytes], folder: Path) -> None:
    """Write a router's files to a folder: whole under a temporary name, then renamed into place.

    Raises:
        FileExistsError: As `check_place`.
    """
    check_place(folder, EXPORTED if EXPORTED in files else TRAINABLE)
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


def check_place(folder: Path, index: str) -> None:
    """Refuse to write a router where something else would be lost: writing replaces the whole folder.

    Args:
        folder: Where it is to be written.
        index: Which kind of router it is, `TRAINABLE` or `EXPORTED`.

    Raises:
        FileExistsError: If the folder is a file, holds other files than a router's, or a router of the other kind.
    """
    if folder.is_file():
        raise FileExistsError(f"'{folder}' is a file; give the name of a new folder or of a router's.")
    if _other(folder, index):
        here, fresh = ("an exported router", "one that can be trained")
        if index == EXPORTED:
            here, fresh = "a router that can be trained", "an exported one"
        raise FileExistsError(f"'{folder}' holds {here}, and {fresh} would replace it; name another folder.")
    if strangers := _strangers(folder):
        raise FileExistsError(
            f"'{folder}' holds other files than a router's ({', '.join(strangers[:3])}), and saving replaces the whole "
            "folder; give the name of a new folder or of a router's."
        )


def _other(folder: Path, index: str) -> bool:
    return (folder / (TRAINABLE if index == EXPORTED else EXPORTED)).is_file()


def _strangers(folder: Path) -> list[str]:
    """The files of a folder that are no router's: saving over them would lose them."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    try:
        index = EXPORTED if EXPORTED in names else TRAINABLE
        known = {index, *json.loads((folder / index).read_bytes())["digests"]}
    except (OSError, ValueError, KeyError, TypeError):
        known = _USUAL if names & {TRAINABLE, EXPORTED} else set()
    return sorted(names - known)


def read_folder(folder: Path, *, index: str = TRAINABLE) -> dict[str, bytes]:
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
    if not (folder / index).is_file():
        other = _CALLS[TRAINABLE if index == EXPORTED else EXPORTED] if _other(folder, index) else ""
        raise FileNotFoundError(f"There is no router in '{folder}': expected a folder with {_A[index]}.{other}")
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: _map(path) if name.startswith(MAPPED) else path.read_bytes() for name, path in paths.items()}


def _map(path: Path) -> bytes:
    """A file as what can be read like its bytes; it stays readable when another takes its name."""
    if path.stat().st_size == 0:  # which cannot be mapped
        return b""
    with path.open("rb") as file:
        return cast(bytes, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(**_UTF8)).hexdigest()
