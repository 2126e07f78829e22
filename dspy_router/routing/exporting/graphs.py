"""ONNX graphs: traced by torch's exporter, optimised by ONNX Runtime, their weights turned into int8."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from dspy_router.routing.exporting.scales import fix_scales
from dspy_router.runtime.sessions import has_int8_instructions

# A residual sum and the norm behind it as the one operator that ONNX Runtime has for both: 22 of MiniLM's 550 µs more.
_SLOWER_IN_INT8 = ("SkipLayerNormFusion",)
_OPSET = 17  # the newest that the tracing exporter's operators need; every ONNX Runtime since 1.13 reads it


def trace(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    *,
    output: str,
    sizes: Mapping[str, Mapping[int, str]],
) -> bytes:
    """A module as an optimised ONNX model.

    torch has two exporters. This uses the older one, which traces: on MiniLM's int8 graph it was 15–20 % quicker to
    run than the graph of the newer one (`dynamo=True`), in which ONNX Runtime recognises no attention, and it takes a
    fifth as long. Both give the same vectors.

    Args:
        module: What is exported, in evaluation mode.
        inputs: An example of each input, by name, in the order of `forward`.
        output: Name of the one output.
        sizes: Which dimensions may have another size, and their names, by input and output.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        traced, optimised = Path(folder) / "traced.onnx", Path(folder) / "optimised.onnx"
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            str(traced),
            dynamo=False,
            input_names=list(inputs),
            output_names=[output],
            dynamic_axes={name: dict(axes) for name, axes in sizes.items()},
            opset_version=_OPSET,
        )
        _optimise(traced, optimised)
        return optimised.read_bytes()


def as_int8(
    model: bytes, examples: Iterable[Mapping[str, NDArray[Any]]], *, operators: Sequence[str] | None = None
) -> bytes:
    """The model with 8-bit weights, one scale a column, and 8-bit activations of fixed scales.

    Dynamic quantisation after ONNX Runtime's own recipe, its scales then fixed; see `fix_scales`. Where this processor
    lacks the instructions that sum products of 8-bit numbers, weights take 7 bits: older instructions overflow with 8.

    Args:
        model: An ONNX model.
        examples: Inputs of the model, by name, on which the scales are found.
        operators: Which operators' weights; by default all that ONNX Runtime can, embeddings too.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        small, optimised = Path(folder) / "int8.onnx", Path(folder) / "optimised.onnx"
        quantize_dynamic(
            onnx.load_model_from_string(model),
            str(small),
            per_channel=True,
            reduce_range=has_int8_instructions() is False,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=None if operators is None else list(operators),
            # Fused operators are ONNX Runtime's own, of whose results ONNX does not know the type.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        _optimise(small, optimised, without=_SLOWER_IN_INT8)
        return fix_scales(optimised.read_bytes(), examples)


def _optimise(source: Path, target: Path, *, without: Sequence[str] = ()) -> None:
    """Fuse operators once, here, rather than at every start; nothing that holds only for this processor."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    onnxruntime.InferenceSession(
        str(source), options, providers=["CPUExecutionProvider"], disabled_optimizers=list(without)
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporter and quantiser say of their own affairs: what they miss shows in the check afterwards."""
    disabled = logging.getLogger().manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
