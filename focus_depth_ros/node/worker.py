"""The worker's thread: takes the newest picture, runs the pipeline on it, publishes the answer.

Everything in `Worker` but `start`, `stop` and `delay` runs in that thread; the executor's, which
takes messages and services meanwhile, is in `focus_depth`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from rclpy.lifecycle import LifecycleNode

from focus_depth_ros.core import InvalidInput
from focus_depth_ros.inference.engine import EngineError
from focus_depth_ros.node.camera import CameraInput, PictureMessage
from focus_depth_ros.node.outputs import Outputs
from focus_depth_ros.node.parameters import Parameters
from focus_depth_ros.pipeline.focus_pipeline import FocusPipeline
from focus_depth_ros.pipeline.result import TargetResult
from focus_depth_ros.pipeline.scale import MIN_REFERENCE_CELLS
from focus_depth_ros.pipeline.targets import TargetsInView

SLOW_S = 5.0
"""A picture that takes so long is said."""
SURE = 0.5
"""Confidence from which a mask moves the box that is tracked: that of a covered target may be
anywhere."""
BLANK = 2.0
"""Standard deviation, of 255 grey levels, under which a picture shows nothing. A box would be found
in it, since the network takes a detector's word that there is something."""
STUCK_S = 60.0
"""An engine that has not answered for so long will not: the node ends without it."""
REFERENCE_UNFIT = (
    f'reference_depth gives no scale: it has too few valid samples ({MIN_REFERENCE_CELLS} are '
    'needed) or contradicts the picture; is it aligned to the colour camera?'
)


class WorkerStuckError(RuntimeError):
    """The worker's thread is in an engine that does not answer: nothing of it may be freed."""


@dataclass(eq=False)
class Worker:
    """Answers the pictures of one camera, the newest each time, from `start` to `stop`.

    `parameters` gives the current ones, `is_enabled` says whether anything is to be looked at.
    `complain` hears of every picture that could not be answered: none of them ends the thread.
    Of the newest answer `scale_source` is where its metres come from, `looked_at` its targets.
    """

    node: LifecycleNode
    camera: CameraInput
    pipeline: FocusPipeline
    targets: TargetsInView
    outputs: Outputs
    complain: Callable[[InvalidInput], None]
    parameters: Callable[[], Parameters]
    is_enabled: Callable[[], bool]
    scale_source: str = ''
    looked_at: str = ''
    _thread: threading.Thread = field(init=False)
    _began_s: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._work, name='focus_depth worker', daemon=True)

    def start(self) -> None:
        """Take pictures from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Close the camera and wait until the picture at hand is done.

        Raises WorkerStuckError when it does not come to an end; its thread, and what it holds, are
        then left alone.
        """
        try:
            self.camera.close()
        finally:
            if self._thread.is_alive():
                self._thread.join(STUCK_S)
        if self._thread.is_alive():
            raise WorkerStuckError(f'the engine has not answered for {STUCK_S:.0f} s')

    @property
    def delay(self) -> str:
        """What diagnostics say while a picture takes too long; else nothing."""
        began_s = self._began_s
        taken_s = 0.0 if began_s is None else time.monotonic() - began_s
        return f'the picture at hand has taken {taken_s:.0f} s' if taken_s > SLOW_S else ''

    def _work(self) -> None:
        while (message := self.camera.pictures.take()) is not None:
            self._began_s = time.monotonic()
            try:
                self._answer(message)
            except InvalidInput as problem:
                self._refuse(problem)
            except EngineError as error:
                self._refuse(InvalidInput('inference', str(error)))
            except Exception as error:
                if not self.node.context.ok():
                    return
                self._refuse(InvalidInput('internal', f'a picture was left out: {error!r}'))
            finally:
                self._began_s = None

    def _refuse(self, problem: InvalidInput) -> None:
        self.camera.counts.refused += 1
        self.complain(problem)

    def _answer(self, message: PictureMessage) -> None:
        start = time.perf_counter()
        parameters = self.parameters()
        self.pipeline.settings = parameters.settings  # the same from here to the end
        frame, camera_info = self.camera.decode(message)
        picture = self.pipeline.picture(frame)
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        if np.std(grey) < BLANK:
            raise InvalidInput('blank_picture', 'a picture shows nothing: is the lens covered?')
        wanted = self.targets.locate(frame.stamp_ns, grey, frame.size)
        if not (self.is_enabled() and self.outputs.any_wanted()):
            return
        self.camera.pictures.let_others_run()
        maps = self.pipeline.maps(frame, wanted, picture)
        asked_source = self.pipeline.settings.scale_source
        takes_reference = asked_source in ('auto', 'reference_depth')
        # only now: a depth camera's picture comes after the colour picture that it belongs to
        reference = self.camera.reference.of(frame) if takes_reference else None
        result = self.pipeline.result(frame, wanted, maps, reference)
        self.outputs.publish(result, camera_info, parameters)
        self.camera.counts.answered += 1
        self.outputs.publish_timings(
            inference_time_ms=1e3 * self.pipeline.inference_s,
            processing_time_ms=1e3 * (time.perf_counter() - start),
            pipeline_latency_ms=(self.node.get_clock().now().nanoseconds - frame.stamp_ns) / 1e6,
        )
        sure = (found for found in result.found if found.confidence >= SURE)
        self.targets.settle({found.target.id: found.box for found in sure if found.box})
        self.scale_source = result.scale.source
        self.looked_at = ', '.join(map(_told, result.targets))
        if reference is not None and result.scale.source != 'reference_depth':
            self.complain(InvalidInput('reference_fit', REFERENCE_UNFIT))
        if not result.scale.is_metric and asked_source != 'none':
            self.complain(_scale_problem(asked_source))


def _told(answer: TargetResult) -> str:
    found = '' if answer.found else ' not found'
    return f'{answer.target.id} {answer.confidence:.2f}{found}'


def _scale_problem(source: str) -> InvalidInput:
    missing = {
        'auto': 'neither reference_depth nor camera_info with a model that knows metres',
        'model': 'no camera_info, without which the model knows no metres',
        'reference_depth': 'no reference_depth picture within 0.1 s that fits',
    }[source]
    return InvalidInput('scale', f'depth has no metric scale ({missing}); see ~/depth/relative')
