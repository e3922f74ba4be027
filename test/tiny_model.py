"""A model folder made at test time: the shipped model's bindings, with answers that are known.

A box is its own mask, words are the middle of the picture, the word "missing" is never found;
depth is a ramp down the picture, nearer inside the mask.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

WIDTH, HEIGHT = 224, 168
VOCABULARY = ['<pad>', '<unknown>', 'the', 'red', 'mug', 'missing']

ENCODER = """
<ir_version: 8, opset_import: ["" : 17]>
encoder (uint8[1,168,224,3] image) => (float[1,3,84,112] colour)
{
  pixels = Cast <to = 1> (image)
  planes = Transpose <perm = [0, 3, 1, 2]> (pixels)
  pooled = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (planes)
  white = Constant <value = float {255.0}> ()
  colour = Div (pooled, white)
}
"""

FOCUS = """
<ir_version: 8, opset_import: ["" : 17]>
focus (float[1,3,84,112] colour, float[T,4] box, int32[T,8] words) =>
  (float[T,84,112] inverse_depth, float[T,84,112] mask, float[T,84,112] boundary,
   float[T] confidence, float[T,2] metric)
<float[1,1,112] x, float[1,84,1] y, float[1,4] middle, float one, float steep, float four,
 float tenth, float nothing, int32 absent, int64[1] last, float[1,2] unit>
{
  number = Cast <to = 1> (words)
  any_word = ReduceMax <axes = [1], keepdims = 1> (number)
  spoken = Min (any_word, one)
  spoken_box = Mul (spoken, middle)
  edges = Add (box, spoken_box)
  x0_, y0_, x1_, y1_ = Split <axis = 1> (edges)
  x0 = Unsqueeze (x0_, last)
  y0 = Unsqueeze (y0_, last)
  x1 = Unsqueeze (x1_, last)
  y1 = Unsqueeze (y1_, last)
  a = Sub (x, x0)
  b = Sub (x1, x)
  c = Sub (y, y0)
  d = Sub (y1, y)
  ab = Min (a, b)
  cd = Min (c, d)
  inner = Min (ab, cd)
  sharp = Mul (inner, steep)
  mask = Sigmoid (sharp)
  rest = Sub (one, mask)
  product = Mul (mask, rest)
  boundary = Mul (product, four)
  brightness = ReduceMean <axes = [1, 2, 3], keepdims = 0> (colour)
  unseen = Mul (brightness, nothing)
  lift = Mul (mask, tenth)
  ramp = Add (y, lift)
  ramp_one = Add (ramp, one)
  inverse_depth = Add (ramp_one, unseen)
  is_absent = Equal (words, absent)
  absent_number = Cast <to = 1> (is_absent)
  any_absent = ReduceMax <axes = [1], keepdims = 0> (absent_number)
  widest = ReduceMax <axes = [1], keepdims = 0> (edges)
  asked = Min (widest, one)
  present = Sub (one, any_absent)
  confidence = Mul (asked, present)
  scaled = Mul (edges, nothing)
  halves = ReduceMax <axes = [1], keepdims = 1> (scaled)
  metric = Add (halves, unit)
}
"""


def write_tiny_model(folder: Path) -> Path:
    """Write encoder.onnx, focus.onnx and model.json; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder, focus = parser.parse_model(ENCODER), parser.parse_model(FOCUS)
    constants = {
        'x': ((np.arange(112) + 0.5) / 112).reshape(1, 1, 112),
        'y': ((np.arange(84) + 0.5) / 84).reshape(1, 84, 1),
        'middle': np.array([[0.25, 0.25, 0.75, 0.75]]),
        'one': np.array(1.0),
        'steep': np.array(1000.0),
        'four': np.array(4.0),
        'tenth': np.array(0.5),
        'nothing': np.array(0.0),
        'unit': np.array([[1.0, 0.0]]),
    }
    tensors = [
        numpy_helper.from_array(np.asarray(value, np.float32), name)
        for name, value in constants.items()
    ]
    tensors.append(numpy_helper.from_array(np.array(5, np.int32), 'absent'))
    tensors.append(numpy_helper.from_array(np.array([2], np.int64), 'last'))
    del focus.graph.initializer[:]
    focus.graph.initializer.extend(tensors)
    files = {}
    for part, model in (('encoder', encoder), ('focus', focus)):
        onnx.checker.check_model(model)
        data = model.SerializeToString()
        (folder / f'{part}.onnx').write_bytes(data)
        files[part] = {
            'path': f'{part}.onnx',
            'sha256': hashlib.sha256(data).hexdigest(),
            'bytes': len(data),
        }
    manifest = {
        'format': 1,
        'name': 'tiny',
        'version': '0',
        'license': 'Apache-2.0',
        'family': 'compact',
        'files': files,
        'input': {'width': WIDTH, 'height': HEIGHT},
        'output': {'width': WIDTH // 2, 'height': HEIGHT // 2},
        'features': ['colour'],
        'canonical_focal_px': 200.0,
        'max_words': 8,
        'vocabulary': VOCABULARY,
    }
    (folder / 'model.json').write_text(json.dumps(manifest, indent=1), encoding='utf-8')
    return folder
