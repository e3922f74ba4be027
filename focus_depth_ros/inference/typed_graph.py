"""An ONNX graph whose types say how it is computed: what a strongly typed TensorRT network is.

TensorRT 11 has no switches for precision any more, and 10 does what the types say when asked to.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from focus_depth_ros.inference.engine import EngineError
from focus_depth_ros.inference.graph_file import refuse_external_data

if TYPE_CHECKING:
    import onnx


def clean_graph(path: Path) -> onnx.ModelProto:
    """Read a graph and put it into a form that TensorRT takes; it answers the same.

    Sizes that are known become constants, and with them go the branches that exporters leave for
    unknown ones; a uint8 picture becomes numbers before anything else is done with it. Weights
    beside the graph are read last, for protobuf does not carry 2 GiB through shape inference.
    Raises EngineError for what is no graph, or keeps weights where no checksum covers them.
    """
    import onnx
    import onnx_ir
    from onnxscript import optimizer

    refuse_external_data(path)
    try:
        structure = onnx.load(path, load_external_data=False)
        _cast_pictures_first(structure)
        inferred = onnx.shape_inference.infer_shapes(structure, data_prop=True)
        graph = onnx_ir.from_proto(inferred)
        onnx_ir.external_data.set_base_dir(graph.graph, path.parent)
        optimizer.optimize(graph)
        onnx_ir.external_data.load_to_model(graph)
        model: onnx.ModelProto = onnx_ir.to_proto(graph)
    except Exception as error:
        raise EngineError(f'{path}: not a graph that can be compiled: {error}') from error
    branches = [node.name for node in model.graph.node if node.op_type in ('If', 'Loop', 'Scan')]
    if branches:
        raise EngineError(f'{path}: control flow cannot be compiled: {", ".join(branches)}')
    return model


def half_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph computed in float16; inputs and outputs keep their types.

    Operators that ONNX does not define for float16, such as Range, stay as they are.
    """
    import onnx
    import onnx_ir
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(model)  # the converter works in place
    half = convert_float_to_float16(copy, keep_io_types=True, disable_shape_infer=True)
    once = {node.output[0]: node for node in half.graph.node}
    del half.graph.node[:]  # the converter casts twice, under one name, what two operators share
    half.graph.node.extend(once.values())
    del half.graph.value_info[:]  # it does not keep all of these true
    _take_constants_directly(half.graph)
    unsorted = onnx_ir.from_proto(half)
    unsorted.graph.sort()  # the converter appends its casts, ONNX wants them before their users
    typed: onnx.ModelProto = onnx_ir.to_proto(unsorted)
    return typed


def _take_constants_directly(graph: onnx.GraphProto) -> None:
    """Leave out casts of constants to what they are: Resize wants its factors as constants.

    ONNX wants those in float32 even in half precision, and the converter casts them to be sure.
    """
    import onnx

    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    float32 = onnx.TensorProto.FLOAT
    idle = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == 'Cast' and node.attribute[0].i == kinds.get(node.input[0]) == float32
    }
    kept = [node for node in graph.node if node.output[0] not in idle]
    for node in kept:
        node.input[:] = [idle.get(name, name) for name in node.input]
    del graph.node[:]
    graph.node.extend(kept)


def serialised(model: onnx.ModelProto) -> bytes:
    """The graph as bytes. Raises EngineError from 2 GiB on, which protobuf does not carry."""
    try:
        data: bytes = model.SerializeToString()
    except ValueError as error:
        raise EngineError(f'graphs of 2 GiB and more cannot be compiled ({error})') from error
    return data


def _cast_pictures_first(model: onnx.ModelProto) -> None:
    """TensorRT does nothing with uint8 but turn it into numbers."""
    import onnx

    for value in model.graph.input:
        if value.type.tensor_type.elem_type != onnx.TensorProto.UINT8:
            continue
        numbers = f'{value.name}_numbers'
        for node in model.graph.node:
            for index, name in enumerate(node.input):
                if name == value.name:
                    node.input[index] = numbers
        cast = onnx.helper.make_node('Cast', [value.name], [numbers], to=onnx.TensorProto.FLOAT)
        model.graph.node.insert(0, cast)
    del model.graph.value_info[:]  # types along the way have changed
