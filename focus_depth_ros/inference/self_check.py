"""Does an engine say what ONNX Runtime says on the CPU? Asked before it serves.

Converted engines go wrong silently: attention in half precision that overflows, outputs in another
order, a layer that a new version fuses wrongly. So each is shown a rendered table with eight
things on it and asked for six targets, and every output is compared with the reference.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focus_depth_ros.inference.engine_pair import OUTPUTS, EnginePair, FocusMaps, NearLook
from focus_depth_ros.inference.model_folder import UNKNOWN_WORD, ModelFolder
from focus_depth_ros.inference.window import Window

PICTURE = Path(__file__).with_name('self_check.jpg')
"""320x240, frame 54 of the rendered test split."""
BOWL, BLOCK, CARTON = (189, 141, 296, 206), (102, 70, 138, 111), (92, 115, 156, 193)
NOWHERE = (0, 0, 0, 0)
PROMPTS: tuple[tuple[tuple[int, int, int, int], str], ...] = (
    (BOWL, ''),
    (BLOCK, ''),
    (NOWHERE, 'the red stone'),
    (CARTON, 'the brown carton'),
    (NOWHERE, 'the pink ball'),  # there is none
    (NOWHERE, ''),
)
"""Boxes in px of the picture, and words."""
WINDOW = Window(left=1, top=1, width=1, height=1, grid=(2, 2))
"""Round the first of them: what is looked at from near."""


@dataclass(frozen=True)
class Limits:
    """What an engine may differ by, for each output.

    `error`: largest RMS difference as a share of the reference's RMS. `correlation`: the smallest
    one. `scale`: largest difference from 1 of the least-squares factor from reference to engine.
    """

    error: float
    correlation: float
    scale: float


LIMITS = {
    'fp32': Limits(error=0.005, correlation=0.9999, scale=0.002),
    'fp16': Limits(error=0.02, correlation=0.999, scale=0.01),
    'int8': Limits(error=0.08, correlation=0.995, scale=0.02),
}


@dataclass(frozen=True)
class Comparison:
    """One output against the reference; see `Limits`. Correlation is 1 where both are constant."""

    error: float
    correlation: float
    scale: float


@dataclass(frozen=True)
class CheckReport:
    """The verdict on one pair of engines, with the figures of every output."""

    engine: str
    passed: bool
    reason: str
    outputs: dict[str, Comparison]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return asdict(self)

    def __str__(self) -> str:
        """The verdict in one line."""
        if not self.passed:
            return f'failed: {self.reason}'
        worst = max(self.outputs, key=lambda name: self.outputs[name].error)
        return f'passed; largest error {self.outputs[worst].error:.2%} ({worst})'


def self_check(pair: EnginePair, reference: EnginePair) -> CheckReport:
    """Compare a pair with the reference: six targets at once, the first alone, and from near."""
    picture, (boxes, words) = check_picture(pair.folder), check_prompts(pair.folder)
    engines = (reference, pair)
    features = [engine.encode(picture) for engine in engines]
    held = [engine.held(values) for engine, values in zip(engines, features, strict=True)]
    for targets in (len(boxes), 1):
        want, got = (
            engine.focus(feature, boxes[:targets], words[:targets])
            for engine, feature in zip(engines, features, strict=True)
        )
        report = compare(got, want, pair)
        if not report.passed:
            return report
    if pair.folder.fovea is None:
        return report
    look = NearLook.into(picture, WINDOW, want, boxes, words)
    want, got = (engine.look_near(whole, look) for engine, whole in zip(engines, held, strict=True))
    return _worse(report, compare(got, want, pair))


def _worse(first: CheckReport, near: CheckReport) -> CheckReport:
    """A first look that passed and a look from near as one report: the worse of each output."""
    outputs = {
        name: max(first.outputs[name], found, key=lambda one: one.error)
        for name, found in near.outputs.items()
    }
    reason = f'from near: {near.reason}' if near.reason else ''
    return CheckReport(near.engine, near.passed, reason, outputs)


def compare(got: FocusMaps, want: FocusMaps, pair: EnginePair) -> CheckReport:
    """Hold every output of `got` against `want`, by the limits of the pair's precision."""
    limits = LIMITS[pair.precision]
    outputs: dict[str, Comparison] = {}
    wrong = []
    for name in OUTPUTS:
        values = getattr(got, name)
        if not np.isfinite(values).all():
            wrong.append(f'{name} is not finite')
            continue
        outputs[name] = found = comparison(values, getattr(want, name))
        agrees = (
            found.error <= limits.error
            and found.correlation >= limits.correlation
            and abs(found.scale - 1) <= limits.scale
        )
        if not agrees:  # also where the reference is not finite
            wrong.append(
                f'{name} differs from ONNX Runtime on the CPU by {found.error:.1%} '
                f'(correlation {found.correlation:.4f}, scale {found.scale:.3f})'
            )
    return CheckReport(pair.name, not wrong, '; '.join(wrong), outputs)


def comparison(got: NDArray[np.float32], want: NDArray[np.float32]) -> Comparison:
    """Two finite arrays of one shape; zero throughout counts as the smallest of magnitudes."""
    a, b = got.astype(np.float64).ravel(), want.astype(np.float64).ravel()
    power = max(float(b @ b), 1e-12 * b.size)
    error = float(np.sqrt(((a - b) @ (a - b)) / power))
    a_from_mean, b_from_mean = a - a.mean(), b - b.mean()
    spreads = float(np.sqrt((a_from_mean @ a_from_mean) * (b_from_mean @ b_from_mean)))
    is_constant = b_from_mean @ b_from_mean < 1e-9 * power
    correlation = 1.0 if is_constant else float(a_from_mean @ b_from_mean) / max(spreads, 1e-12)
    scale = float(a @ b) / power if b.any() else 1.0
    return Comparison(error, correlation, scale)


def check_picture(folder: ModelFolder) -> NDArray[np.uint8]:
    """The picture at the model's input size, uint8 RGB (h, w, 3)."""
    picture = cv2.imread(str(PICTURE), cv2.IMREAD_COLOR)
    if picture is None:
        raise OSError(f'{PICTURE} is missing or no picture: the installation is incomplete')
    stretched = cv2.resize(picture, folder.input_size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(stretched[..., ::-1], np.uint8)


def check_prompts(folder: ModelFolder) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Boxes (6, 4) in [0, 1] and words (6, max_words) in the model's vocabulary."""
    boxes = np.array([box for box, _ in PROMPTS], np.float32)
    boxes /= np.array([320, 240, 320, 240], np.float32)
    words = np.zeros((len(PROMPTS), folder.max_words), np.int32)
    index = {word: number for number, word in enumerate(folder.vocabulary)}
    for row, (_, text) in enumerate(PROMPTS):
        numbers = [index.get(word, UNKNOWN_WORD) for word in text.split()][: folder.max_words]
        words[row, : len(numbers)] = numbers
    return boxes, words
