"""`focus-depth quantise`: encoder and focus half in int8 into a model folder, for CPUs.

Ranges are calibrated on frames of a data set and what is asked about them. The node takes both by
itself where they answer as the float32 graphs do; docs/decisions/0007-int8-on-cpus.md says what
that gains and loses.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_static,
)

from focus_depth_ros.datasets.catalogue import ADAPTERS, open_dataset
from focus_depth_ros.datasets.frame import LabelledFrame, triplets
from focus_depth_ros.inference.backends import REFERENCE, backend_named
from focus_depth_ros.inference.engine import LoadOptions
from focus_depth_ros.inference.model_folder import (
    QUANTISED,
    ModelFolder,
    file_entry,
    read_model_folder,
)
from focus_depth_ros.inference.quantised_graph import KEPT_FLOAT, calibration_reader
from focus_depth_ros.pipeline.picture import stretch
from focus_depth_ros.pipeline.prompts import prompt_encoder

OPERATORS = {'encoder': ['Conv', 'Add', 'Relu', 'Clip'], 'focus': ['Conv']}
"""What is int8: the focus half adds and resizes prompts, too, which have ranges of their own."""
FEWEST_OUTPUTS = 8
"""Convolutions with fewer stay float: they give the answers, and int8 makes them no faster."""

Asked = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int32]]
"""A picture RGB (H, W, 3) of any size, and what is asked about it: boxes (T, 4), words (T, L)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `focus-depth quantise`."""
    parser.add_argument('model', type=Path, help='model folder, which gets two files more')
    parser.add_argument(
        '--dataset',
        nargs=2,
        required=True,
        metavar=('NAME', 'PATH'),
        help=f'frames to calibrate on, with captions; NAME: {", ".join(ADAPTERS)}',
    )
    parser.add_argument('--frames', type=int, default=128, help='so many of them (128)')


def run(arguments: argparse.Namespace) -> int:
    """Entry of the command."""
    if arguments.frames < 1:
        raise ValueError(f'--frames is {arguments.frames}; it must be 1 or more')
    name, path = arguments.dataset
    folder = read_model_folder(arguments.model)
    frames = islice(open_dataset(name, Path(path)), arguments.frames)
    for file in quantise(arguments.model, asked_about(frames, folder), Path(path).resolve().name):
        print(f'{file}: {file.stat().st_size / 1e6:.1f} MB')
    return 0


def asked_about(frames: Iterable[LabelledFrame], folder: ModelFolder) -> Iterator[Asked]:
    """Each picture with every question that its data set has about it, and with none."""
    encoder = prompt_encoder(folder)
    for frame in frames:
        height, width = frame.ids.shape
        targets = [row.target for row in triplets(frame)]
        known = [target for target in targets if encoder.understands(target)]
        boxes, words = encoder.encode(known, width, height)
        yield frame.rgb, np.pad(boxes, ((0, 1), (0, 0))), np.pad(words, ((0, 1), (0, 0)))


def quantise(model: Path, asked: Iterable[Asked], source: str) -> list[Path]:
    """Write the int8 graphs and their manifest entries; the files written.

    Activations are uint8 with a zero point, weights for each channel in seven of int8's bits: what
    CPUs have instructions for, and what does not saturate on those without VNNI. `source` says
    where the pictures are from. Raises ValueError for an unfit folder or when there is no picture.
    """
    folder = read_model_folder(model)
    size = folder.input_size
    questions = [(stretch(rgb, size), boxes, words) for rgb, boxes, words in asked]
    if not questions:
        raise ValueError('no picture to calibrate on')
    manifest = json.loads((model / 'model.json').read_text(encoding='utf-8'))
    files = []
    with TemporaryDirectory(dir=model) as scratch:  # the folder stays sound until all is there
        for part, inputs in (
            ('encoder', ({'image': picture[None]} for picture, *_ in questions)),
            ('focus', _focus_inputs(folder, questions)),
        ):
            file = Path(scratch) / f'{part}.int8.onnx'
            _write_quantised(getattr(folder, part), file, inputs, OPERATORS[part])
            calibrated_on = {'calibrated_on': f'{len(questions)} pictures of {source}'}
            manifest['files'][QUANTISED[part]] = file_entry(file) | calibrated_on
            files.append(model / file.name)
        text = json.dumps(manifest, indent=1) + '\n'
        (Path(scratch) / 'model.json').write_text(text, encoding='utf-8')
        for file in (*files, model / 'model.json'):
            os.replace(Path(scratch) / file.name, file)
    return files


def _focus_inputs(folder: ModelFolder, questions: list[Asked]) -> Iterator[Mapping[str, Any]]:
    """What the float encoder hands to the focus half, with the prompts."""
    encoder = backend_named(REFERENCE).load(folder.encoder, LoadOptions())
    for picture, boxes, words in questions:
        yield {**encoder.infer({'image': picture[None]}), 'box': boxes, 'words': words}
    encoder.close()


def _write_quantised(
    graph: Path, file: Path, inputs: Iterator[Mapping[str, Any]], operators: list[str]
) -> None:
    plain = file.with_suffix('.plain.onnx')
    with _without_warnings():
        quant_pre_process(str(graph), str(plain), skip_symbolic_shape=True)
        quantize_static(
            str(plain),
            str(file),
            calibration_reader(inputs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=operators,
            nodes_to_exclude=_kept_float(plain),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        _name_used_operators_only(file)


def _kept_float(path: Path) -> list[str]:
    """The names of a graph's nodes that stay float: narrow convolutions and the trunk's first."""
    graph = onnx.load(path).graph
    outputs = {tensor.name: tensor.dims[0] for tensor in graph.initializer if tensor.dims}
    return [
        node.name
        for node in graph.node
        if node.name.startswith(KEPT_FLOAT)
        or (node.op_type == 'Conv' and outputs[node.input[1]] < FEWEST_OUTPUTS)
    ]


def _name_used_operators_only(path: Path) -> None:
    """Take the sets of operators that a graph names and does not use out of it.

    The quantiser names all that its own version knows; an older ONNX Runtime refuses what it does
    not know, used or not.
    """
    graph = onnx.load(path)
    used = {node.domain for node in graph.graph.node}
    kept = [operators for operators in graph.opset_import if operators.domain in used]
    del graph.opset_import[:]
    graph.opset_import.extend(kept)
    onnx.save(graph, path)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """The quantiser warns, through the root logger, of what is done here."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
