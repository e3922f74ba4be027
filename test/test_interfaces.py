"""What others build on: messages, installed files, commands; and what must agree with what."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

import focus_depth_ros

pytest.importorskip('rclpy', reason='the interfaces need ROS 2')

from focus_depth_ros.cli import COMMANDS
from focus_depth_ros.msg import FocusTarget, FocusTargetArray
from focus_depth_ros.node.parameters import SPECIFICATIONS
from focus_depth_ros.node.transport import shared_file
from focus_depth_ros.srv import SetBoxTarget, SetTextTarget

ROOT = Path(__file__).parents[1]
LAUNCH_FILES = ('focus.launch.py', 'replay.launch.py', 'demo.launch.py')

FIELDS = {
    FocusTarget: {
        'id': 'string',
        'label': 'string',
        'score': 'float',
        'confidence': 'float',
        'found': 'boolean',
        'box': 'sensor_msgs/RegionOfInterest',
        'centroid': 'geometry_msgs/Point',
        'extent': 'geometry_msgs/Vector3',
        'depth_p05_m': 'float',
        'depth_median_m': 'float',
        'depth_p95_m': 'float',
        'scale_source': 'string',
    },
    FocusTargetArray: {
        'header': 'std_msgs/Header',
        'targets': 'sequence<focus_depth_ros/FocusTarget>',
    },
    SetTextTarget.Request: {'text': 'string', 'append': 'boolean'},
    SetTextTarget.Response: {'success': 'boolean', 'message': 'string', 'id': 'string'},
    SetBoxTarget.Request: {
        'box': 'sensor_msgs/RegionOfInterest',
        'label': 'string',
        'stamp': 'builtin_interfaces/Time',
        'append': 'boolean',
    },
    SetBoxTarget.Response: {'success': 'boolean', 'message': 'string', 'id': 'string'},
}

# REP 2011 hashes of vision_msgs 4.1.1: two parties talk to each other only when theirs agree
VISION_MSGS_HASHES = {
    'BoundingBox2D': '008eacbb0cf8f26e83795547bed013eec3675485ef386ec056d80eaaf1c1ce2f',
    'BoundingBox3D': 'bbb73a65c163d7f9bb29009c7bde9f7faa576bd2d23299c4511d19230dab4698',
    'Detection2D': '0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea',
    'Detection2DArray': '214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968',
    'Detection3D': 'ddd703be132ab0b69d33121f1bb034132bfbb3b0ac5f9fb1516005ba1c8a265b',
    'Detection3DArray': '793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018',
    'ObjectHypothesis': '51da43cec11c01957a64d1e05a24acd18aae7745ec30b74348ad5f6d634f7f90',
    'ObjectHypothesisWithPose': '41c12344c0396c48b81df12467c192d99b2a0eb1463c5c37194e4223251c80bc',
    'Point2D': 'eab0e83f44ab4de92ceaf76dd7d0e7638f2bdd1d16ffbe16c7a136c48e407247',
    'Pose2D': 'b0b5d1d7b4c20dd4fcde3ed1d4b289a919290572007d67a97043814db25d3648',
}


@pytest.mark.parametrize('message', FIELDS, ids=lambda message: message.__name__)
def test_our_messages_have_these_fields(message: type) -> None:
    fields = message.get_fields_and_field_types()  # type: ignore[attr-defined]
    assert dict(fields) == FIELDS[message]


def test_scale_sources_of_the_message_are_the_pipelines() -> None:
    from focus_depth_ros.pipeline.scale import OF_PICTURE, SCALE_SOURCES

    named = {FocusTarget.NONE, FocusTarget.MODEL, FocusTarget.REFERENCE}
    assert named == set(SCALE_SOURCES) - {'auto'}
    assert FocusTarget.REFERENCE_OF_PICTURE == OF_PICTURE


@pytest.mark.parametrize('name', VISION_MSGS_HASHES)
def test_vision_msgs_are_the_real_ones_or_cannot_be_told_from_them(name: str) -> None:
    description = json.loads(_vision_msgs_description(name).read_text())
    hashes = {entry['type_name']: entry['hash_string'] for entry in description['type_hashes']}
    assert hashes[f'vision_msgs/msg/{name}'] == f'RIHS01_{VISION_MSGS_HASHES[name]}'


def _vision_msgs_description(name: str) -> Path:
    import vision_msgs

    for folder in Path(vision_msgs.__file__).parents:
        path = folder / 'share/vision_msgs/msg' / f'{name}.json'
        if path.exists():
            return path
    pytest.skip('this distribution has no type hashes (before Iron)')


@pytest.mark.parametrize('message', ['Detection2DArray', 'Detection3DArray'])
def test_vision_msgs_survive_the_wire(message: str) -> None:
    import vision_msgs.msg
    from rclpy.serialization import deserialize_message, serialize_message

    kind = getattr(vision_msgs.msg, message)
    detection = getattr(vision_msgs.msg, message.removesuffix('Array'))(id='7')
    hypothesis = vision_msgs.msg.ObjectHypothesis(class_id='mug', score=0.5)
    detection.results.append(vision_msgs.msg.ObjectHypothesisWithPose(hypothesis=hypothesis))
    sent = kind(detections=[detection])
    assert deserialize_message(serialize_message(sent), kind) == sent


def test_version_is_the_same_everywhere() -> None:
    manifest = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert manifest.findtext('version') == focus_depth_ros.__version__
    assert importlib.metadata.version('focus_depth_ros') == focus_depth_ros.__version__


def test_parameter_file_holds_every_parameter_with_its_default() -> None:
    written = _parameters_of('focus.yaml')
    assert written == {name: entry.default for name, entry in SPECIFICATIONS.items()}


def test_parameter_file_explains_every_parameter() -> None:
    lines = (ROOT / 'config/focus.yaml').read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r'    \w+:', line):
            assert lines[number - 1].startswith('    # '), f'line {number + 1} has no comment'


def test_parameter_file_says_which_parameters_may_change_while_active() -> None:
    text = (ROOT / 'config/focus.yaml').read_text()
    comments = dict(re.findall(r'    # (.+)\n    (\w+):', text))
    live = {name for comment, name in comments.items() if comment.endswith(' live')}
    assert live == {name for name, entry in SPECIFICATIONS.items() if entry.live}


def test_jetson_file_changes_only_parameters_there_are() -> None:
    assert _parameters_of('jetson.yaml').keys() <= SPECIFICATIONS.keys()


def test_what_rviz_shows_is_moved_with_a_namespace() -> None:
    shown = set(re.findall(r'Value: /focus_depth/(\S+)', (ROOT / 'config/focus.rviz').read_text()))
    launch = (ROOT / 'launch/focus.launch.py').read_text()
    moved = re.search(r'^DISPLAYED = (\(.+\))$', launch, re.MULTILINE)
    assert shown and moved and set(ast.literal_eval(moved[1])) == shown


def _parameters_of(name: str) -> dict[str, object]:
    content = yaml.safe_load(shared_file(f'config/{name}').read_text())
    parameters: dict[str, object] = content['/**']['ros__parameters']
    return parameters


@pytest.mark.parametrize(
    'name',
    [
        'package.xml',
        'config/focus.yaml',
        'config/jetson.yaml',
        'config/fastdds_large_messages.xml',
        'config/focus.rviz',
        'msg/FocusTarget.msg',
        'srv/SetTextTarget.srv',
        *(f'launch/{name}' for name in LAUNCH_FILES),
    ],
)
def test_share_folder_holds(name: str) -> None:
    assert shared_file(name).read_text() == (ROOT / name).read_text()


@pytest.mark.parametrize('package', ['focus_depth_ros', 'vision_msgs'])
def test_ament_index_knows(package: str) -> None:
    index = shared_file('package.xml').parents[1] / 'ament_index/resource_index'
    if package == 'vision_msgs' and not (index / 'packages/vision_msgs').exists():
        pytest.skip("vision_msgs is the ROS installation's own")
    assert (index / 'packages' / package).exists()
    assert 'msg/' in (index / 'rosidl_interfaces' / package).read_text()


@pytest.mark.parametrize('name', ['focus_depth', 'bag_player', 'recorder'])
def test_ros2_run_finds_an_executable(name: str) -> None:
    executable = shared_file('package.xml').parents[2] / 'lib/focus_depth_ros' / name
    assert executable.stat().st_mode & 0o111
    module = importlib.import_module(f'focus_depth_ros.node.{name}')
    assert callable(module.main)


@pytest.mark.skipif(
    shared_file('package.xml').parents[2] != Path(sys.prefix),
    reason='commands are installed by pip; a colcon workspace has python3 -m focus_depth_ros',
)
def test_command_line_is_installed() -> None:
    (entry,) = importlib.metadata.entry_points(group='console_scripts', name='focus-depth')
    assert entry.load() is importlib.import_module('focus_depth_ros.cli').main


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_has_a_module(command: str) -> None:
    assert importlib.util.find_spec(COMMANDS[command][0]), f'{COMMANDS[command][0]} is missing'
