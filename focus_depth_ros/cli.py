"""`focus-depth COMMAND`: one door to everything; a command's module is imported when used."""

from __future__ import annotations

import argparse
import importlib
import io
import sys
from collections.abc import Sequence

from focus_depth_ros import __version__

COMMANDS = {
    'demo': (
        'focus_depth_ros.evaluation.demo',
        'play the bundled recording through the node, score it',
    ),
    'predict': (
        'focus_depth_ros.pipeline.predict',
        'depth, mask, boundary and cloud of picture files',
    ),
    'run': (
        'focus_depth_ros.node.focus_depth',
        'start the node (for machines without ros2 launch)',
    ),
    'find': ('focus_depth_ros.node.find', 'name a target to the running node; where it is'),
    'play': (
        'focus_depth_ros.node.bag_player',
        'publish a recording (for machines without ros2 bag)',
    ),
    'record': ('focus_depth_ros.node.recorder', "write the node's outputs into a recording"),
    'evaluate': ('focus_depth_ros.evaluation.evaluate', 'score a model on scenes or real frames'),
    'bench': ('focus_depth_ros.evaluation.bench', 'time a model on this machine, part by part'),
    'render': ('focus_depth_ros.synthesis.render', 'render labelled training scenes'),
    'render-recording': ('focus_depth_ros.synthesis.recording', 'render a moving camera as a bag'),
    'view': ('focus_depth_ros.synthesis.view', 'contact sheets of rendered scenes'),
    'train': ('focus_depth_ros.training.train', 'train the networks'),
    'compile': (
        'focus_depth_ros.inference.compile',
        "build a model's TensorRT engines before a robot needs them",
    ),
    'quantise': (
        'focus_depth_ros.training.quantise',
        'add int8 graphs for CPUs to a model folder',
    ),
    'average': ('focus_depth_ros.training.average', 'one network from several checkpoints'),
    'export': ('focus_depth_ros.training.export', 'write a model folder from a checkpoint'),
    'export-foundation': (
        'focus_depth_ros.training.export_foundation',
        'write a model folder from Depth Anything and SAM3 weights',
    ),
}

EXTRAS = {'bench': 'foundation', 'compile': 'tensorrt', 'export-foundation': 'foundation'}
"""What a command needs beyond the node's requirements, where it is not the extra `train`."""
EXTRAS_OF_MODULES = {'transformers': 'train,foundation', 'h5py': 'datasets', 'rerun': 'view'}
"""And what a module is in, whatever the command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status. Faults of the user end in one line, not a trace."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ('-h', '--help'):
        print(_usage())
        return 0 if words else 2
    if words[0] == '--version':
        from focus_depth_ros.inference.model_folder import BUILT_IN, read_model_folder

        model = read_model_folder(BUILT_IN)
        print(f'focus-depth {__version__}, built-in model {model.version}')
        return 0
    if words[0] not in COMMANDS:
        print(f'focus-depth: no command {words[0]!r}\n\n{_usage()}', file=sys.stderr)
        return 2
    module_name, summary = COMMANDS[words[0]]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # into a file or a pipe too, as work goes on
    try:
        module = importlib.import_module(module_name)
        parser = argparse.ArgumentParser(prog=f'focus-depth {words[0]}', description=summary)
        module.add_arguments(parser)
        return int(module.run(_parse(parser, words[1:])))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        print(f'focus-depth {words[0]}: {_fault_of_the_user(error, words[0])}', file=sys.stderr)
        return 2


def _fault_of_the_user(error: Exception, command: str) -> str:
    """What a fault that is not this package's own is about; others are raised again."""
    if isinstance(error, ModuleNotFoundError):
        if error.name and error.name.startswith('focus_depth_ros'):
            raise error
        extra = EXTRAS.get(command) or EXTRAS_OF_MODULES.get(str(error.name).split('.')[0], 'train')
        return (
            f'the Python module {error.name!r} is missing; install the extra, in the checkout: '
            f"pip install '.[{extra}]' (where colcon built this package: what pyproject.toml lists "
            f'under {extra!r})'
        )
    if not (isinstance(error, (ValueError, OSError)) or _is_own(error)):
        raise error
    if isinstance(error, FileExistsError) and error.filename:
        return f'{error.filename} is no folder; name one to write into'
    return str(error)


def _is_own(error: Exception) -> bool:
    """True for the kinds of faults that this package names itself: of models and engines, say."""
    return type(error).__module__.startswith('focus_depth_ros.')


def _parse(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """Parse; what follows `--ros-args` goes to commands that pass it on to ROS."""
    arguments, rest = parser.parse_known_args(words)
    if rest and not hasattr(arguments, 'ros_arguments'):
        parser.error(f'unknown argument: {" ".join(rest)}')
    if rest and rest[0] != '--ros-args':  # ROS ignores such words in silence
        parser.error(f'unknown argument: {" ".join(rest)}; {parser.epilog}')
    if rest:
        arguments.ros_arguments = rest
    return arguments


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f'  {name:{width}}  {summary}' for name, (_, summary) in COMMANDS.items()]
    return '\n'.join(['usage: focus-depth COMMAND [options]', '', *lines])
