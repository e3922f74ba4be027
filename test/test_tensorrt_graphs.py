"""Graphs made ready for TensorRT answer as before: exactly cleaned, nearly in fp16 and int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

pytest.importorskip('onnxscript', reason="needs the 'tensorrt' extra")

import onnx
from onnx import parser

from focus_depth_ros.inference.calibration import calibration_of
from focus_depth_ros.inference.engine import EngineError
from focus_depth_ros.inference.model_folder import BUILT_IN, read_model_folder
from focus_depth_ros.inference.quantised_graph import quantised
from focus_depth_ros.inference.self_check import check_picture
from focus_depth_ros.inference.typed_graph import clean_graph, half_precision

FLOAT, UINT8, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT16
Graphs = list[onnx.ModelProto]
OUTPUTS = ('inverse_depth', 'mask', 'boundary', 'confidence', 'metric')

needs_model = pytest.mark.skipif(
    not (BUILT_IN / 'model.json').is_file(), reason='no built-in model in this checkout'
)


@pytest.fixture(scope='module')
def cleaned() -> Graphs:
    """The built-in model's encoder and focus graph."""
    folder = read_model_folder(BUILT_IN)
    return [clean_graph(graph) for graph in (folder.encoder, folder.focus)]


def smooth_picture(seed: int) -> Any:
    width, height = read_model_folder(BUILT_IN).input_size
    size = (1, height // 8, width // 8, 3)
    patches = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    return patches.repeat(8, 1).repeat(8, 2)


def answers(encoder: Any, focus: Any, picture: Any, max_words: int) -> dict[str, Any]:
    """All outputs of both graphs (ONNX Runtime, CPU), for a box, a word and nothing."""
    boxes = np.array([[0.3, 0.3, 0.6, 0.7], [0, 0, 0, 0], [0, 0, 0, 0]], np.float32)
    words = np.zeros((3, max_words), np.int32)
    words[1, 0] = 20
    features = run(encoder, {'image': picture})
    return run(focus, {**features, 'box': boxes, 'words': words})


def run(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    # int8 as the graph says it: products in int8 saturate on CPUs without VNNI
    options.add_session_config_entry('session.disable_quant_qdq', '1')
    data = model.SerializeToString() if hasattr(model, 'SerializeToString') else str(model)
    session = onnxruntime.InferenceSession(data, options, providers=['CPUExecutionProvider'])
    names = [node.name for node in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@needs_model
def test_the_built_in_model_cleaned_and_in_half_precision(cleaned: Graphs) -> None:
    folder = read_model_folder(BUILT_IN)
    clean = cleaned
    halves = [half_precision(model) for model in clean]
    for model in (*clean, *halves):
        onnx.checker.check_model(model, full_check=True)
        assert not {'If', 'Loop', 'Scan'} & {node.op_type for node in model.graph.node}
    assert clean[0].graph.node[0].op_type == 'Cast'
    for before, after in zip(clean, halves, strict=True):
        resizes = [node for node in after.graph.node if node.op_type == 'Resize']
        factors = {node.input[2] for node in resizes if node.input[2]}
        assert factors <= {one.name for one in after.graph.initializer}, 'no cast is between'
        weights = [one for one in after.graph.initializer if one.name not in factors]
        kinds = [tensor.data_type for tensor in weights]  # ONNX wants Resize's factors in float
        assert HALF in kinds and FLOAT not in kinds, 'every weight is half'
        for side in ('input', 'output'):
            edges = [list(getattr(model.graph, side)) for model in (before, after)]
            types = [[each.type.tensor_type.elem_type for each in edge] for edge in edges]
            assert types[0] == types[1], 'the edges keep their types'
    picture = smooth_picture(0)
    wanted = answers(folder.encoder, folder.focus, picture, folder.max_words)
    exact = answers(*clean, picture, folder.max_words)
    near = answers(*halves, picture, folder.max_words)
    for name in OUTPUTS:
        assert np.allclose(exact[name], wanted[name], atol=1e-6), name
        error = np.abs(near[name] - wanted[name])
        if name == 'metric':  # its shift is near 5, where half precision has steps of .004
            error /= np.maximum(1, wanted[name])
        assert error.max() < 0.03, name
        assert error.mean() < 0.002, name


@needs_model
def test_int8(cleaned: Graphs) -> None:
    folder = read_model_folder(BUILT_IN)
    # of things: in one of patches there is hardly a boundary to be off by
    pictures = [check_picture(folder), smooth_picture(0)[0]]
    calibration = calibration_of(folder, pictures)
    assert [len(inputs) for inputs in calibration.graphs] == [2] * len(folder.graphs)
    assert calibration.sha256 != calibration_of(folder, pictures[1:]).sha256
    int8 = [
        quantised(model, inputs) for model, inputs in zip(cleaned, calibration.graphs, strict=False)
    ]
    for model in int8:
        kinds = [node.op_type for node in model.graph.node]
        assert kinds.count('QuantizeLinear') >= kinds.count('Conv') > 0
        zeros = {name.name: name for name in model.graph.initializer if 'zero_point' in name.name}
        assert zeros and not any(onnx.numpy_helper.to_array(zero).any() for zero in zeros.values())
    picture = calibration.graphs[0][0]['image']
    wanted = answers(folder.encoder, folder.focus, picture, folder.max_words)
    found = answers(*int8, picture, folder.max_words)
    for name, bound in (('inverse_depth', 0.05), ('mask', 0.15), ('boundary', 0.05)):
        box = 0  # what words of no sense find in a picture is noise
        error = np.abs(found[name][box] - wanted[name][box]).mean()
        assert error < bound * np.abs(wanted[name][box]).mean(), name


def test_every_graph_is_calibrated_on_what_it_takes(compact_model: Path) -> None:
    folder = read_model_folder(compact_model)
    picture = np.random.default_rng(0).integers(0, 255, (56, 88, 3), np.uint8)
    calibration = calibration_of(folder, [picture])
    assert folder.fovea is not None and len(folder.graphs) == 3
    for graph, (inputs,) in zip(folder.graphs, calibration.graphs, strict=True):
        answer = run(graph, dict(inputs))
        assert all(np.isfinite(values).all() for values in answer.values())
        assert quantised(clean_graph(graph), [inputs]).graph.node


BESIDE = """
<ir_version: 8, opset_import: ["" : 17]>
beside (uint8[1,4,4,3] image, float from, float step)
  => (float[1,3,4,4] y, float[N] up, float[M] on)
<float[3,3,1,1] weight, float six, float nine>
{
  planes = Transpose <perm = [0, 3, 1, 2]> (image)
  numbers = Cast <to = 1> (planes)
  y = Conv (numbers, weight)
  to_six = Range (from, six, step)
  to_nine = Range (from, nine, step)
  up = Neg (to_six)
  on = Neg (to_nine)
}
"""


def test_weights_beside_the_graph_and_operators_that_stay_float32(tmp_path: Path) -> None:
    weight = np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1)
    model = parser.parse_model(BESIDE)
    values = {'weight': weight, 'six': np.float32(6), 'nine': np.float32(9)}
    tensors = [
        onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()
    ]
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)
    path = tmp_path / 'beside.onnx'
    onnx.save(
        model, path, save_as_external_data=True, location='beside.onnx.data', size_threshold=0
    )
    half = half_precision(clean_graph(path))
    onnx.checker.check_model(half, full_check=True)
    assert half.graph.node[0].op_type == 'Cast'
    picture = smooth_picture(0)[:, :4, :4]
    told = run(
        half, {'image': picture, 'from': np.array(0, np.float32), 'step': np.array(2, np.float32)}
    )
    assert told['up'].tolist() == [0, -2, -4] and told['on'].tolist() == [0, -2, -4, -6, -8]
    wanted = np.einsum('oi,nhwi->nohw', weight[:, :, 0, 0], picture.astype(np.float32))
    assert np.allclose(told['y'], wanted, rtol=2e-3)


BRANCH = """
<ir_version: 8, opset_import: ["" : 17]>
branching (float[N] x, bool flag) => (float[M] y) {
  y = If (flag) <
    then_branch = first () => (float[A] a) { a = Identity (x) },
    else_branch = second () => (float[B] b) { b = Neg (x) }
  >
}
"""


def test_graphs_that_cannot_be_compiled(tmp_path: Path) -> None:
    path = tmp_path / 'x.onnx'
    onnx.save(parser.parse_model(BRANCH), path)
    with pytest.raises(EngineError, match=r'x\.onnx: control flow'):
        clean_graph(path)
    path.write_bytes(b'\x08\x07 not a graph')
    with pytest.raises(EngineError, match=r'x\.onnx: not an ONNX graph'):
        clean_graph(path)
    with pytest.raises(EngineError, match=r'y\.onnx'):
        clean_graph(tmp_path / 'y.onnx')


def test_weights_that_no_checksum_covers_are_not_compiled(tmp_path: Path) -> None:
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> g (float[4] x) => (float[4] y) { y = Add (x, w) }'
    )
    graph = parser.parse_model(text)
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(4, np.float32), 'w'))
    path = tmp_path / 'x.onnx'
    onnx.save_model(graph, path, save_as_external_data=True, location='own.bin', size_threshold=0)
    with pytest.raises(EngineError, match=r'x\.onnx: keeps weights in another file'):
        clean_graph(path)
