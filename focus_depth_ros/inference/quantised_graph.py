"""An ONNX graph computed in int8 where that pays: Q/DQ pairs round convolutions.

The ranges come from running the graph on inputs like those it will see. What is outside of the
convolutions stays float32: opset 17 has no half-precision scales.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader

Inputs = Mapping[str, NDArray[Any]]

KEPT_FLOAT = (
    '/encoder/trunk/stem',
    '/encoder/trunk/Clip',
    '/encoder/trunk/first',
    '/encoder/trunk/stages.0/',
    '/encoder/detail',
    '/encoder/laterals.0',
    '/focus/boundary_widen',
    '/focus/boundary_detail',
    '/focus/boundary2',
)
"""How the names of nodes begin that stay float. What the encoder does at strides 2 and 4 gains
little from int8, and its errors run through all that follows; boundaries read from an int8 stride 2
came out 2.6 % too low (0.13.0), and float costs them half a millisecond."""


def calibration_reader(inputs: Iterable[Inputs]) -> CalibrationDataReader:
    """A graph's inputs as ONNX Runtime asks for them: one mapping a run, None at the end."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._rest = iter(inputs)

        def get_next(self) -> Inputs | None:
            return next(self._rest, None)

    return Reader()


def quantised(model: onnx.ModelProto, inputs: Sequence[Inputs]) -> onnx.ModelProto:
    """`model` with int8 convolutions, calibrated on `inputs` (one mapping a picture)."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory() as folder:
        plain, result = Path(folder) / 'plain.onnx', Path(folder) / 'int8.onnx'
        onnx.save(model, plain)
        quantize_static(
            str(plain),
            str(result),
            calibration_reader(inputs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=['Conv'],
            nodes_to_exclude=[n.name for n in model.graph.node if n.name.startswith(KEPT_FLOAT)],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            # what TensorRT asks of explicit quantisation: no zero points, float biases
            extra_options={
                'ActivationSymmetric': True,
                'WeightSymmetric': True,
                'QuantizeBias': False,
                'AddQDQPairToWeight': True,
            },
        )
        return onnx.load(result)
