"""README and docs against the code: tables, links, commands and their options."""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import yaml

from focus_depth_ros.cli import COMMANDS
from focus_depth_ros.inference.model_folder import BUILT_IN, UNKNOWN_WORD, read_model_folder

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')
NODE = (ROOT / 'docs/node.md').read_text(encoding='utf-8')
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
OF_EVERY_NODE = re.compile(
    r'/rosout|.*(parameter|lifecycle|/(change|get)_\w*state|transition|type_description)\w*'
)


def table(section: str) -> list[list[str]]:
    """The cells of the first table under a heading of docs/node.md, without its first two lines."""
    text = NODE.split(f'\n## {section}\n')[1].split('\n#')[0]
    rows = [line.strip('|').split('|') for line in text.splitlines() if line.startswith('|')]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def python_in(page: str, section: str) -> str:
    """The code under a heading of a page."""
    text = page.split(f'\n## {section}\n')[1].split('\n## ')[0]
    (code,) = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    return str(code)


def test_the_table_of_parameters() -> None:
    pytest.importorskip('rclpy')
    from focus_depth_ros.node.parameters import SPECIFICATIONS

    rows = {name.strip('`'): cells for name, *cells in table('Parameters')}
    assert rows.keys() == SPECIFICATIONS.keys()
    for name, (default, live, meaning) in rows.items():
        entry = SPECIFICATIONS[name]
        assert yaml.safe_load(default.strip('`')) == entry.default, name
        assert (live == 'x') == entry.live, name
        for choice in entry.choices:
            assert f'`{choice}`' in meaning, f'{name}: {choice} is not explained'


@pytest.fixture
def node(ros: None, tiny_model: Path) -> Iterator[Any]:
    from rclpy.parameter import Parameter

    from focus_depth_ros.node.focus_depth import FocusDepthNode

    focus_depth = FocusDepthNode()
    focus_depth.set_parameters([Parameter('model', value=str(tiny_model))])
    focus_depth.start()
    yield focus_depth
    focus_depth.destroy_node()


def test_the_tables_of_topics_and_services(node: Any) -> None:
    def documented(section: str) -> dict[str, str]:
        return {
            node.resolve_topic_name(name): kind
            for names, kind, _ in table(section)
            for name in re.findall(r'`(.+?)`', names)
            if name != 'image/compressed'  # in place of image
        }

    def offered(names_and_types: list[tuple[str, list[str]]]) -> dict[str, str]:
        return {
            name: re.sub('/(msg|srv)/', '/', kind)
            for name, (kind, *_) in names_and_types
            if not OF_EVERY_NODE.fullmatch(name)
        }

    me = (node.get_name(), node.get_namespace())
    for section, names_and_types in (
        ('Subscribed topics', node.get_subscriber_names_and_types_by_node(*me)),
        ('Published topics', node.get_publisher_names_and_types_by_node(*me)),
        ('Services', node.get_service_names_and_types_by_node(*me)),
    ):
        assert offered(names_and_types) == documented(section)


def test_the_arguments_of_the_launch_file() -> None:
    text = (ROOT / 'launch/focus.launch.py').read_text(encoding='utf-8')
    tables = re.findall(
        r'^(?:TOPICS|PARAMETERS|SWITCHES) = (\{.*?^\})', text, re.DOTALL | re.MULTILINE
    )
    declared = set(re.findall(r"DeclareLaunchArgument\(\s*'(\w+)'", text))
    declared.update(*map(ast.literal_eval, tables))
    (row,) = (line for line in README.splitlines() if line.startswith('| `focus.launch.py`'))
    assert set(re.findall(r'`(\w+)`', row)) == declared


def test_the_service_calls() -> None:
    pytest.importorskip('focus_depth_ros.srv')
    calls = re.findall(r'ros2 service call (\S+) (\S+)/srv/(\w+) "(.+)"', README)
    assert len(calls) == 2
    for _, package, kind, content in calls:
        request = getattr(importlib.import_module(f'{package}.srv'), kind).Request()
        _fill(request, yaml.safe_load(content))


def _fill(message: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, dict):
            _fill(getattr(message, name), value)
        else:
            assert isinstance(value, type(getattr(message, name))), name


def test_the_detector_to_plug_in() -> None:
    pytest.importorskip('vision_msgs.msg')
    from std_msgs.msg import Header

    from focus_depth_ros.node.detections import targets_from_detections
    from focus_depth_ros.node.parameters import SPECIFICATIONS, Parameters

    names: dict[str, Any] = {}
    exec(python_in(README, 'Plug in your detector'), names)
    boxes = [('mug', 0.9, 210, 140, 330, 290), (7, 0.4, 1.5, 2, 33, 44)]
    message = names['to_message'](Header(frame_id='camera'), boxes)
    parameters = Parameters(**{name: entry.default for name, entry in SPECIFICATIONS.items()})
    targets = targets_from_detections(message, parameters, pytest.fail)
    assert [(target.label, target.box) for target in targets] == [
        ('mug', (210, 140, 330, 290)),
        ('7', (1.5, 2, 33, 44)),
    ]


def test_the_use_of_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('focus_depth_ros.msg')
    from rclpy.clock import ClockType
    from rclpy.time import Time

    from focus_depth_ros.msg import FocusTarget, FocusTargetArray

    for module in ('tf2_geometry_msgs', 'tf2_ros'):  # no wheel holds them
        monkeypatch.setitem(sys.modules, module, Mock(TransformException=RuntimeError))
    names: dict[str, Any] = {}
    exec(python_in(README, 'Use the result'), names)
    metres = FocusTarget.REFERENCE
    good = FocusTarget(id='1', label='mug', found=True, confidence=0.6, scale_source=metres)
    no_metres, guessed, other, lost, unsure = (copy.deepcopy(good) for _ in range(5))
    no_metres.centroid.x, guessed.scale_source, other.id = math.nan, FocusTarget.MODEL, '2'
    lost.found, unsure.confidence = False, 0.4
    message = FocusTargetArray(targets=[good, no_metres, guessed, other, lost, unsure])
    message.header.stamp = Time(seconds=10).to_msg()
    node = Mock(wanted_id='1', asked_at=Time(seconds=10.1, clock_type=ClockType.ROS_TIME))
    node.get_clock().now.return_value = Time(seconds=10.6, clock_type=ClockType.ROS_TIME)
    names['on_targets'](node, message)
    assert not node.reach_for.called, 'it is too old'
    node.get_clock().now.return_value = Time(seconds=10.4, clock_type=ClockType.ROS_TIME)
    names['on_targets'](node, message)
    assert not node.reach_for.called, 'it was taken before the answer'
    node.asked_at = Time(seconds=9.9, clock_type=ClockType.ROS_TIME)
    names['on_targets'](node, message)
    (call,) = node.reach_for.call_args_list
    assert call.args[0] == 'mug'
    assert node.tf.transform.call_args.args[0].point == good.centroid


def test_the_points_of_one_target() -> None:
    names: dict[str, Any] = {}
    exec(python_in(NODE, 'The points of one target'), names)
    targets = SimpleNamespace(targets=[SimpleNamespace(id='a'), SimpleNamespace(id='b')])
    shown = np.array([[0, 1, 2], [2, 2, 0]], np.uint8)
    points = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    points[0, 2] = np.nan
    labels = SimpleNamespace(data=shown.tobytes(), height=2, width=3)
    cloud = SimpleNamespace(data=points.tobytes(), height=2, width=3)
    found = names['points_of']('b', targets, labels, cloud)
    assert found.tolist() == points[1, :2, :3].tolist()


def test_the_points_that_a_depth_camera_measured_of_it() -> None:
    names: dict[str, Any] = {}
    exec(python_in(NODE, "The depth camera's own points of it"), names)
    targets = SimpleNamespace(targets=[SimpleNamespace(id='a'), SimpleNamespace(id='b')])
    shown = np.array([[0, 1, 2], [2, 2, 0]], np.uint8)
    z = np.array([[500, 600, 0], [800, 1000, 700]], np.uint16)
    labels = SimpleNamespace(data=shown.tobytes(), height=2, width=3)
    depth = SimpleNamespace(data=z.tobytes(), height=2, width=3)
    info = SimpleNamespace(k=[2.0, 0.0, 1.0, 0.0, 4.0, 0.5, 0.0, 0.0, 1.0])
    found = names['measured_points_of']('b', targets, labels, depth, info)
    assert found == pytest.approx(np.array([(-0.4, 0.1, 0.8), (0.0, 0.125, 1.0)]))


def test_the_words_of_the_built_in_model() -> None:
    section = NODE.split('\n## Text targets\n')[1].split('\n## ')[0]
    rows = [line.split('|')[2] for line in section.splitlines() if line.startswith('| ')][1:]
    written = re.findall(r'\w+', ' '.join(rows))
    vocabulary = read_model_folder(BUILT_IN).vocabulary
    assert sorted(written) == sorted(vocabulary[UNKNOWN_WORD + 1 :])
    assert f'[{len(written)} words](docs/node.md#text-targets)' in README
    assert f'The things among them: {rows[0].strip()}.\n' in README


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r'\]\(([^)\s]+)\)', page.read_text(encoding='utf-8')):
        if not target.startswith(('http', '#')):
            assert (page.parent / target.split('#')[0]).exists(), target


def _written_commands() -> list[tuple[str, str]]:
    """(command, the rest of its line) of every command line of `focus-depth` in the pages."""
    text = '\n'.join(page.read_text(encoding='utf-8') for page in PAGES)
    text = text.replace('\\\n', ' ')
    return re.findall(r'focus-depth ([a-z-]+)([^`|\n#]*)', text)


def test_every_written_command_exists() -> None:
    unknown = {command for command, _ in _written_commands()} - COMMANDS.keys()
    assert not unknown


@pytest.mark.parametrize('command', sorted({command for command, _ in _written_commands()}))
def test_written_options_are_those_of_the_command(command: str) -> None:
    try:
        module = importlib.import_module(COMMANDS[command][0])
    except ModuleNotFoundError as error:
        pytest.skip(f'{error.name} is not installed')
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    known = {option for action in parser._actions for option in action.option_strings}
    for other, rest in _written_commands():
        if other == command:
            written = set(re.findall(r'(?<!\S)--[a-z][\w-]*', rest.split('--ros-args')[0]))
            assert written <= known, f'focus-depth {command}{rest}'


def test_the_python_of_predict_finds_the_stone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And README's command is of the same picture, whose stone stands at 1.32 m."""
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    exec(python_in(ROOT.joinpath('docs/predict.md').read_text(), 'From Python'), names)
    assert names['answer'].found
    assert names['answer'].geometry.depth_median_m == pytest.approx(1.32, rel=0.15)
    assert capsys.readouterr().out.startswith('True')
