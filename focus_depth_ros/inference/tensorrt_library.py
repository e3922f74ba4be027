"""TensorRT's Python module: found, old enough to be known, and its messages in Python's log.

The same code runs on 10.3 and later and on 11; every name used of the module is held to the real
bindings by a test.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

from focus_depth_ros.inference.device_memory import open_device
from focus_depth_ros.inference.engine import EngineError
from focus_depth_ros.inference.engine_manifest import Machine, version_numbers

OLDEST = (10, 3)
"""What JetPack 6.1 brings; all that is used of the module is there."""

LOG = logging.getLogger(__name__)


def load_tensorrt() -> Any:
    """The module `tensorrt`. Raises EngineError when it is absent, broken or too old."""
    try:
        trt = importlib.import_module('tensorrt')
    except (ImportError, OSError) as error:  # the second where its libraries are half there
        raise EngineError(
            f'TensorRT is not there ({error}); on a Jetson it comes with JetPack '
            '(python3-libnvinfer), elsewhere: pip install tensorrt; see docs/tensorrt.md'
        ) from error
    if version_numbers(trt.__version__) < OLDEST:
        raise EngineError(
            f'TensorRT {trt.__version__} is too old: 10.3 or later is needed '
            '(JetPack 6.1 on a Jetson)'
        )
    return trt


def this_machine() -> Machine:
    """What engines built here are bound to. Raises EngineError without TensorRT or a GPU."""
    trt = load_tensorrt()
    device = open_device()
    machine = Machine(str(trt.__version__), device.gpu, device.compute_capability)
    device.close()
    return machine


def new_logger(trt: Any) -> Any:
    """A TensorRT logger that writes to Python's log and keeps the errors for a message."""

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(msg)
                LOG.error('TensorRT: %s', msg)
            elif severity == trt.ILogger.WARNING:
                LOG.warning('TensorRT: %s', msg)
            else:
                LOG.debug('TensorRT: %s', msg)

    return Logger()
