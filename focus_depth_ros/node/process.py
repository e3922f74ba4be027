"""How a process of this package runs in ROS: starts, works, and ends cleanly whatever ends it."""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException

from focus_depth_ros.heap import keep_large_blocks_in_the_heap
from focus_depth_ros.node.transport import use_large_message_profile

SIGNAL_SETTLES_S = 0.1


def run_in_ros(
    name: str,
    arguments: Sequence[str] | None,
    prepare: Callable[[ExitStack], Callable[[], None]],
) -> int:
    """Run what `prepare` returns between rclpy's init and shutdown; returns the exit status.

    `prepare` puts what must be closed on the stack. SIGINT and SIGTERM end it with status 0; wrong
    parameters and files are one line on stderr and status 2, what fails later is told with where
    it did, and status 1.
    """
    keep_large_blocks_in_the_heap()
    has_begun = False
    try:
        with ExitStack() as stack:
            _initialise(arguments)
            stack.callback(rclpy.try_shutdown)
            try:
                work = prepare(stack)
                has_begun = True
                work()
            except (KeyboardInterrupt, ExternalShutdownException):
                pass
            except RuntimeError:
                # rclpy's errors, when a signal takes the context away in the middle of a call
                time.sleep(SIGNAL_SETTLES_S)
                if rclpy.ok():
                    raise
            finally:
                # a terminal and a launcher both signal: the second must not kill what is ending
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except (ParameterException, ValueError, OSError) as error:
        if has_begun:
            traceback.print_exc()
            print(f'{name}: stopped: {error}', file=sys.stderr)
            return 1
        print(f'{name}: cannot start: {error}', file=sys.stderr)
        return 2
    return 0


def _initialise(arguments: Sequence[str] | None) -> None:
    """Raise ValueError for ROS arguments that cannot be used: no such parameter file, say."""
    try:
        rclpy.init(args=arguments)
    except RuntimeError as error:
        raise ValueError(str(error)) from error


def add_ros_arguments(parser: argparse.ArgumentParser, example: str) -> None:
    """Arguments of a command that is a ROS process: what follows `--ros-args` goes to ROS.

    `example` shows what may follow.
    """
    parser.epilog = (
        f'parameters and remappings follow --ros-args: {parser.prog} --ros-args {example}'
    )
    parser.add_argument(
        '--default-transport',
        action='store_true',
        help='leave the middleware as it is, without the profile that carries large pictures',
    )
    parser.set_defaults(ros_arguments=[])


def run_command(arguments: argparse.Namespace, main: Callable[[Sequence[str] | None], int]) -> int:
    """Start a ROS process from the command line, with room for pictures unless told not to."""
    if not arguments.default_transport:
        use_large_message_profile()
    return main(['focus-depth', *arguments.ros_arguments])
