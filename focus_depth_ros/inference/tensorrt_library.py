"""TensorRT's Python module: found, old enough to be known, and its messages in Python's log.

The same code runs on 10.3 and later and on 11; every name used of the module is held to the real
bindings by a test.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections import deque
from typing import Any

from focus_depth_ros.inference.device_memory import open_device
from focus_depth_ros.inference.engine import EngineError
from focus_depth_ros.inference.engine_manifest import Machine, version_numbers

OLDEST = (10, 3)
"""What JetPack 6.1 brings; all that is used of the module is there."""

KEPT_ERRORS = 10
LOG = logging.getLogger(__name__)


def load_tensorrt() -> Any:
    """The module `tensorrt`. Raises EngineError when it is absent, broken or too old."""
    try:
        trt = importlib.import_module('tensorrt')
        version = str(trt.__version__)
    # OSError where its libraries are half there, AttributeError where a folder has its name
    except Exception as error:
        raise EngineError(
            f'TensorRT is not there ({error}); on a Jetson it comes with JetPack '
            '(python3-libnvinfer), elsewhere: pip install tensorrt-cu12 or tensorrt-cu13, by the '
            'driver; see docs/tensorrt.md'
        ) from error
    if version_numbers(version) < OLDEST:
        raise EngineError(
            f'TensorRT {version} is too old: 10.3 or later is needed (JetPack 6.1 on a Jetson)'
        )
    return trt


def this_machine() -> Machine:
    """What engines built here are bound to. Raises EngineError without TensorRT or a GPU."""
    trt = load_tensorrt()
    device = open_device()
    machine = Machine(str(trt.__version__), device.gpu, device.compute_capability)
    device.close()
    return machine


@functools.cache
def logger_of(trt: Any) -> Any:
    """The process's TensorRT logger: writes to Python's log, keeps the last errors for a message.

    TensorRT takes the first one it is given for all that follows, and calls it as long as anything
    made with it lives: so there is one, and it is never freed.
    """

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=KEPT_ERRORS)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(msg)
                LOG.error('TensorRT: %s', msg)
            elif severity == trt.ILogger.WARNING:
                LOG.warning('TensorRT: %s', msg)
            else:
                LOG.debug('TensorRT: %s', msg)

    return Logger()


def created(kind: Any, logger: Any) -> Any:
    """A builder or runtime of TensorRT.

    Raises EngineError where CUDA cannot be set up: the bindings answer that with a TypeError.
    """
    try:
        return kind(logger)
    except TypeError as error:
        faults = '; '.join(logger.errors) or 'is the driver new enough for this TensorRT?'
        raise EngineError(f'TensorRT could not set up CUDA: {faults}') from error
