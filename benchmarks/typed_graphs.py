"""How far a model's typed graphs (fp16, int8) are from the original: ONNX Runtime, CPU, one thread.

`python benchmarks/typed_graphs.py [MODEL] [--recording BAG] [--pictures N]`: int8 is calibrated on
every other picture of the recording, and all are compared on the rest. Prints RMS errors as a share
of the original's RMS, for three boxes in each picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from focus_depth_ros.evaluation.measured_on import in_words, when_and_where
from focus_depth_ros.inference.calibration import BOXES, Calibration, calibration_of
from focus_depth_ros.inference.model_folder import BUILT_IN, read_model_folder
from focus_depth_ros.inference.quantised_graph import quantised
from focus_depth_ros.inference.typed_graph import clean_graph, half_precision
from focus_depth_ros.node.bag_pictures import pictures_of
from focus_depth_ros.node.bag_reader import BUNDLED_RECORDING
from focus_depth_ros.pipeline.picture import stretch


def main() -> None:
    """Entry of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', type=Path, nargs='?', default=BUILT_IN)
    parser.add_argument('--recording', type=Path, default=BUNDLED_RECORDING)
    parser.add_argument('--pictures', type=int, default=64)
    arguments = parser.parse_args()
    folder = read_model_folder(arguments.model)
    recorded = list(pictures_of(arguments.recording, arguments.pictures))
    pictures = [stretch(rgb, folder.input_size) for rgb in recorded]
    seen, unseen = (calibration_of(folder, pictures[start::2]) for start in (0, 1))
    clean = [clean_graph(graph) for graph in (folder.encoder, folder.focus)]
    typed = {
        'fp32': clean,
        'fp16': [half_precision(graph) for graph in clean],
        'int8': [quantised(*each) for each in zip(clean, seen.graphs, strict=False)],
    }
    wanted = answers([onnx.load(graph) for graph in (folder.encoder, folder.focus)], unseen)
    print(f'{len(unseen.graphs[0])} pictures {folder.input_size[0]}x{folder.input_size[1]} px,')
    print(f'ONNX Runtime {onnxruntime.__version__}, {in_words(when_and_where())}\n')
    print('| typed graph | ' + ' | '.join(wanted) + ' |')
    print('|---' * (1 + len(wanted)) + '|')
    for name, graphs in typed.items():
        found = answers(graphs, unseen)
        shares = [
            f'{100 * rms(found[output] - wanted[output]) / rms(wanted[output]):.2f} %'
            for output in wanted
        ]
        print(f'| {name} | ' + ' | '.join(shares) + ' |')


def rms(values: NDArray[Any]) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(values**2)))


def answers(graphs: list[onnx.ModelProto], inputs: Calibration) -> dict[str, NDArray[Any]]:
    """Each output for the boxes of all pictures; what words without sense find is left out."""
    encoder, focus = (session(graph) for graph in graphs)
    told: dict[str, list[Any]] = {node.name: [] for node in focus.get_outputs()}
    for picture, prompts in zip(*inputs.graphs[:2], strict=True):
        features = {node.name: None for node in encoder.get_outputs()}
        features.update(zip(features, encoder.run(list(features), picture), strict=True))
        prompt = {name: prompts[name] for name in ('box', 'words')}
        for rows, values in zip(
            told.values(), focus.run(list(told), features | prompt), strict=True
        ):
            rows.append(values[: len(BOXES) - 1])
    return {name: np.stack(rows) for name, rows in told.items()}


def session(graph: onnx.ModelProto) -> Any:
    """The graph on one thread of the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # int8 as the graph says it: products in int8 saturate on CPUs without VNNI
    options.add_session_config_entry('session.disable_quant_qdq', '1')
    data = graph.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=['CPUExecutionProvider'])


if __name__ == '__main__':
    main()
