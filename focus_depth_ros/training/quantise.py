"""`focus-depth quantise`: an int8 encoder into a model folder, for CPUs.

Ranges are calibrated on frames of a data set. The node takes it by itself where it answers as the
float32 encoder does; docs/decisions/0007-int8-encoder-on-cpus.md says what it gains and loses.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_static,
)

from focus_depth_ros.datasets.catalogue import ADAPTERS, open_dataset
from focus_depth_ros.inference.model_folder import (
    QUANTISED_ENCODER,
    ModelError,
    file_entry,
    read_model_folder,
)
from focus_depth_ros.pipeline.picture import stretch

FILE_NAME = 'encoder.int8.onnx'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `focus-depth quantise`."""
    parser.add_argument('model', type=Path, help='model folder, which gets one file more')
    parser.add_argument(
        '--dataset',
        nargs=2,
        required=True,
        metavar=('NAME', 'PATH'),
        help=f'frames to calibrate on; NAME: {", ".join(ADAPTERS)}',
    )
    parser.add_argument('--frames', type=int, default=128, help='so many of them (128)')


def run(arguments: argparse.Namespace) -> int:
    """Entry of the command."""
    name, path = arguments.dataset
    frames = islice(open_dataset(name, Path(path)), arguments.frames)
    size = quantise(arguments.model, (frame.rgb for frame in frames), f'{name} {path}')
    print(f'{arguments.model / FILE_NAME}: {size / 1e6:.1f} MB')
    return 0


class _Pictures(CalibrationDataReader):
    """The encoder's inputs, one picture a time."""

    def __init__(self, pictures: Iterable[NDArray[np.uint8]]) -> None:
        self._rest = iter(pictures)
        self.count = 0

    def get_next(self) -> dict[str, Any] | None:
        """The next input, None at the end."""
        picture = next(self._rest, None)
        self.count += picture is not None
        return None if picture is None else {'image': picture[None]}


def quantise(model: Path, pictures: Iterable[NDArray[np.uint8]], source: str) -> int:
    """Write the int8 encoder and its manifest entry; its size in bytes.

    `pictures` are RGB (H, W, 3) of any size, `source` says where they are from. Activations are
    uint8 with a zero point, weights for each channel in seven of int8's bits: what CPUs have
    instructions for, and what does not saturate on those without VNNI.
    Raises ValueError for an unfit folder or when there is no picture.
    """
    try:
        folder = read_model_folder(model)
    except ModelError as error:
        raise ValueError(str(error)) from error
    reader = _Pictures(stretch(picture, folder.input_size) for picture in pictures)
    with TemporaryDirectory(dir=model) as scratch, _without_warnings():
        plain, result = Path(scratch) / 'plain.onnx', Path(scratch) / FILE_NAME
        quant_pre_process(str(folder.encoder), str(plain), skip_symbolic_shape=True)
        quantize_static(
            str(plain),
            str(result),
            reader,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=['Conv', 'Add', 'Relu'],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        _name_used_operators_only(result)
        os.replace(result, model / FILE_NAME)
    manifest = json.loads((model / 'model.json').read_text(encoding='utf-8'))
    entry = file_entry(model / FILE_NAME)
    calibrated_on = f'{reader.count} pictures of {Path(source).name}'
    manifest['files'][QUANTISED_ENCODER] = entry | {'calibrated_on': calibrated_on}
    text = json.dumps(manifest, indent=1) + '\n'
    (model / 'model.json').write_text(text, encoding='utf-8')
    return int(entry['bytes'])


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
