"""The node while its engine is built, taken over, lost, or not wanted any more."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip('rclpy')

from node_harness import NodeProcess, Robot

FAKE_NODE = str(Path(__file__).with_name('fake_engine_node.py'))


def start(model: Path, folder: Path) -> NodeProcess:
    """A node whose engine is built and lost by files in a folder."""
    parameters = ('-p', f'model:={model}', '-p', 'backend:=tensorrt')
    return NodeProcess(*parameters, program=(FAKE_NODE, str(folder)))


def facts(robot: Robot) -> dict[str, str]:
    """The next /diagnostics, its message among the values."""
    robot.fact('engine')
    assert robot.diagnostics is not None
    (status,) = robot.diagnostics.status
    return {'message': status.message, **{item.key: item.value for item in status.values}}


def facts_of(robot: Robot, engine: str) -> dict[str, str]:
    """The first /diagnostics that name an engine: those before it may still be on their way."""
    robot.wait_for(lambda: facts(robot)['engine'] == engine, engine)
    return facts(robot)


def test_it_serves_while_building_takes_over_and_survives_a_lost_device(
    ros: None, tiny_model: Path, tmp_path: Path
) -> None:
    node = start(tiny_model, tmp_path)
    robot = Robot()
    try:
        node.wait_for_output('active; pictures')
        robot.connect()
        robot.send_camera_info()
        robot.answer()
        found = facts_of(robot, 'onnxruntime CPU fp32')
        assert 'tensorrt fp16: not built yet' in found['engine choice']
        (tmp_path / 'finish').touch()
        robot.wait_for(lambda: 'is ready' in facts(robot)['engine build'], 'the engine')
        robot.answer()
        found = facts_of(robot, 'fake fp16')
        assert 'fake' not in found['message']
        assert found['engine self-check'].startswith('passed')
        (tmp_path / 'lose').touch()
        robot.answer()
        found = facts_of(robot, 'onnxruntime CPU fp32')
        assert 'the device is gone' in found['message'] and found['frames refused'] == '0'
        assert node.output.count('the device is gone') == 1
    finally:
        robot.close()
        status, _ = node.stop()
    assert status == 0 and 'Traceback' not in node.output


def test_it_ends_in_the_middle_of_a_build(ros: None, tiny_model: Path, tmp_path: Path) -> None:
    node = start(tiny_model, tmp_path)
    robot = Robot()
    try:
        node.wait_for_output('active; pictures')
        robot.wait_for(lambda: '%' in facts(robot)['engine build'], 'progress')
    finally:
        robot.close()
        status, _ = node.stop()
    assert status == 0 and 'Traceback' not in node.output
