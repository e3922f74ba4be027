"""The node as a process: how it starts, what it says when it cannot, how it ends."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('focus_depth_ros.msg')

import rclpy
from lifecycle_msgs.msg import Transition
from node_harness import NodeProcess, Robot, picture
from rclpy.parameter import Parameter
from rclpy.qos import ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage

from focus_depth_ros.core import Target
from focus_depth_ros.node import worker
from focus_depth_ros.node.focus_depth import FocusDepthNode
from focus_depth_ros.node.parameters import SPECIFICATIONS
from focus_depth_ros.node.process import run_in_ros


def test_the_running_node_imports_no_torch() -> None:
    code = (
        'import sys; import focus_depth_ros.node.focus_depth; import onnxruntime; '
        'heavy = ("torch", "mujoco", "matplotlib", "rosbags", "scipy"); '
        'print([name for name in heavy if name in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_ends_cleanly_under_full_load(ros: None, tiny_model: Path, signal_number: int) -> None:
    node = NodeProcess('-p', f'model:={tiny_model}')
    robot = Robot()
    node.wait_for_output('active; pictures')
    robot.connect()
    robot.send_camera_info(640, 480)
    message, busy = picture(640, 480), threading.Event()

    def flood() -> None:
        while not busy.is_set():
            robot.send(message)
            time.sleep(0.005)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        # not depth: it needs the calibration, which best effort may lose
        robot.wait_for(lambda: len(robot.heard['boundary/image']) > 5, 'answers under load')
        status, seconds = node.stop(signal_number)
    finally:
        busy.set()
        thread.join()
        robot.close()
        if node.process.poll() is None:  # beside it the tests that follow would fail too
            node.stop(signal.SIGKILL)
    assert status == 0, node.output
    assert seconds < 2.0
    assert 'Traceback' not in node.output


def copy_with(tiny_model: Path, folder: Path, change: str) -> Path:
    shutil.copytree(tiny_model, folder)
    manifest_path = folder / 'model.json'
    manifest = json.loads(manifest_path.read_text())
    if change == 'missing graph':
        (folder / 'focus.onnx').unlink()
    elif change == 'altered graph':
        data = bytearray((folder / 'focus.onnx').read_bytes())
        data[100] ^= 1
        (folder / 'focus.onnx').write_bytes(bytes(data))
    elif change == 'no manifest':
        manifest_path.unlink()
    elif change == 'broken manifest':
        manifest_path.write_text('{"format": 1,')
    elif change == 'other inputs':
        manifest['files']['focus'] = manifest['files']['encoder']
        manifest_path.write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ('missing graph', 'focus.onnx is missing'),
        ('altered graph', 'checksum'),
        ('no manifest', 'no model.json'),
        ('broken manifest', 'malformed manifest'),
        ('other inputs', 'the manifest asks for'),
    ],
)
def test_a_bad_model_is_a_message_and_not_a_crash(
    ros: None, tiny_model: Path, tmp_path: Path, change: str, words: str
) -> None:
    folder = copy_with(tiny_model, tmp_path / 'model', change)
    node = NodeProcess('-p', f'model:={folder}')
    node.wait_for_output('cannot configure')
    assert words in node.output
    time.sleep(0.2)
    assert node.process.poll() is None
    assert node.stop()[0] == 0
    assert 'Traceback' not in node.output


def test_a_missing_model_folder_is_named_and_mended_without_restart(
    ros: None, tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / 'later'
    node = NodeProcess('-p', f'model:={folder}')
    robot = Robot()
    try:
        node.wait_for_output(f'{folder} does not exist')
        shutil.copytree(tiny_model, folder)
        assert robot.change_state(Transition.TRANSITION_CONFIGURE)
        assert robot.change_state(Transition.TRANSITION_ACTIVATE)
        robot.connect()
        robot.send_camera_info()
        robot.answer()
    finally:
        robot.close()
        assert node.stop()[0] == 0


@pytest.mark.parametrize('delay_s', [0.15, 0.3, 0.45, 0.6, 0.8])
def test_sigterm_at_any_moment_of_the_start_is_a_clean_end(
    ros: None, tiny_model: Path, delay_s: float
) -> None:
    node = NodeProcess('-p', f'model:={tiny_model}')
    time.sleep(delay_s)
    status, _ = node.stop(signal.SIGTERM)
    assert status in (0, -signal.SIGTERM), node.output  # before rclpy.init nobody handles it


def test_the_player_ends_cleanly(ros: None) -> None:
    from focus_depth_ros.node.bag_reader import BUNDLED_RECORDING

    if not BUNDLED_RECORDING.is_dir():
        pytest.skip('no bundled recording in this checkout')
    listener = Robot()
    listener.node.create_subscription(
        CompressedImage, '/camera/image_raw/compressed', listener.heard['played'].append, 10
    )
    player = NodeProcess(command='play')
    try:
        listener.wait_for(lambda: len(listener.heard['played']) > 3, 'the recording')
    finally:
        status, _ = player.stop(signal.SIGTERM)
        listener.close()
    assert status == 0, player.output
    assert 'Traceback' not in player.output


def test_a_transition_that_fails_is_said_and_leaves_nothing_behind(
    ros: None, tiny_model: Path
) -> None:
    node = NodeProcess(
        '-p', f'model:={tiny_model}', '-p', 'qos_overrides./image.subscription.reliability:=foo'
    )
    robot = Robot()
    try:
        node.wait_for_output('cannot activate')
        assert robot.fact('state') == 'inactive'
        assert robot.diagnostics is not None
        assert 'cannot activate' in robot.diagnostics.status[0].message
        assert robot.change_state(Transition.TRANSITION_CLEANUP)
        robot.wait_for(  # the graph's news takes a moment
            lambda: robot.node.count_publishers('/focus_depth/depth/image') == 0,
            'the outputs to be gone',
        )
    finally:
        robot.close()
        assert node.stop()[0] == 0


@pytest.fixture
def inner_node(ros: None, tiny_model: Path) -> Iterator[FocusDepthNode]:
    """An active node inside this process, whose parts a test can break."""
    node = FocusDepthNode()
    node.set_parameters([Parameter('model', value=str(tiny_model))])
    node.start()
    yield node
    node.destroy_node()


def _breaks() -> None:
    raise OSError('the device is gone')


@pytest.mark.parametrize('what', ['deactivate', 'clean up', 'shut down'])
def test_a_transition_that_raises_is_said_and_frees_everything(
    inner_node: FocusDepthNode, what: str, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    at_work, pipeline = inner_node._worker, inner_node._pipeline
    assert at_work is not None and pipeline is not None
    if what == 'clean up':
        inner_node.trigger_deactivate()
        monkeypatch.setattr(pipeline.model, 'close', _breaks)
        inner_node.trigger_cleanup()
    else:
        monkeypatch.setattr(inner_node._targets, 'forget_pictures', _breaks)
        inner_node.trigger_deactivate() if what == 'deactivate' else inner_node.trigger_shutdown()
    state = 'finalized' if what == 'shut down' else 'unconfigured'
    assert inner_node._state == inner_node._state_machine.current_state[1] == state
    assert not at_work._thread.is_alive()
    assert inner_node._pipeline is None and inner_node._outputs is None
    assert inner_node.count_publishers('/focus_depth/depth/image') == 0
    said = f'cannot {"stop" if what == "shut down" else what}: the device is gone'
    assert said in capfd.readouterr().err
    assert inner_node._failure == said


def test_a_node_that_broke_works_again(inner_node: FocusDepthNode, monkeypatch: Any) -> None:
    monkeypatch.setattr(inner_node._targets, 'forget_pictures', _breaks)
    inner_node.trigger_deactivate()
    inner_node.start()
    assert inner_node._state == 'active' and inner_node._failure == ''


@pytest.mark.parametrize(
    ('parameter', 'words', 'expected'),
    [
        ('backend:=abacus', 'allowed: auto', 0),
        ('image_transport:=pigeon', 'allowed: raw, compressed', 0),
        ('max_depth_m:=-1.0', 'max_depth_m', 2),
        ('score_threshold:=2.0', 'score_threshold', 2),
        ('max_targets:=many', 'max_targets', 2),
    ],
)
def test_wrong_parameters_are_refused_with_a_reason(
    ros: None, tiny_model: Path, parameter: str, words: str, expected: int
) -> None:
    node = NodeProcess('-p', f'model:={tiny_model}', '-p', parameter)
    try:
        deadline = time.monotonic() + 10
        while words not in node.output and time.monotonic() < deadline:
            time.sleep(0.05)
        assert words in node.output
        assert 'active; pictures' not in node.output
    finally:
        status, _ = node.stop()
    assert status == expected
    assert 'Traceback' not in node.output and 'cannot stop' not in node.output


def test_a_text_target_to_begin_with(ros: None, tiny_model: Path) -> None:
    node = NodeProcess('-p', f'model:={tiny_model}', '-p', 'text:=the red mug')
    robot = Robot()
    try:
        node.wait_for_output('active; pictures')
        robot.connect()
        robot.send_camera_info()
        (target,) = robot.answer(output='targets').targets
        assert target.label == 'the red mug'
        assert robot.call('clear_targets').success
        assert not robot.answer(output='targets').targets
    finally:
        robot.close()
        assert node.stop()[0] == 0


def test_a_text_without_a_known_word_is_refused(ros: None, tiny_model: Path) -> None:
    node = NodeProcess('-p', f'model:={tiny_model}', '-p', 'text:=gargoyle')
    try:
        node.wait_for_output('cannot configure: ')
        assert 'gargoyle' in node.output and 'mug' in node.output  # what it knows
    finally:
        assert node.stop()[0] == 0


def test_a_parameter_that_is_none_is_named(ros: None, tiny_model: Path) -> None:
    words = ('autostart:=false', 'max_depth:=5.0', 'use_sim_time:=false')
    overrides = 'qos_overrides./image.subscription.reliability:=reliable'
    node = NodeProcess(*(word for item in (*words, overrides) for word in ('-p', item)))
    try:
        node.wait_for_output('no such parameter, left out: max_depth\n')
    finally:
        assert node.stop()[0] == 0


def test_an_override_of_one_topics_qos_leaves_the_others(ros: None, tiny_model: Path) -> None:
    overridden = {
        '/image': 'subscription.reliability:=reliable',
        '/detections': 'subscription.reliability:=best_effort',
        '/focus_depth/depth/image': 'publisher.reliability:=best_effort',
    }
    misspelt = 'qos_overrides./imag.subscription.depth:=1'
    words = [f'model:={tiny_model}', *(f'qos_overrides.{t}.{o}' for t, o in overridden.items())]
    words.append(misspelt)
    node = NodeProcess(*(word for item in words for word in ('-p', item)))
    robot = Robot()
    try:
        node.wait_for_output('active; pictures')
        node.wait_for_output(f'no such parameter, left out: {misspelt.partition(":")[0]}\n')
        for topic, reliable in (
            ('/image', True),
            ('/camera_info', False),
            ('/reference_depth', False),
            ('/detections', False),
            ('/text_target', True),
            ('/focus_depth/depth/image', False),
            ('/focus_depth/targets', True),
            ('/focus_depth/overlay/image', True),
        ):
            ask = robot.node.get_subscriptions_info_by_topic
            if topic.startswith('/focus_depth/'):
                ask = robot.node.get_publishers_info_by_topic
            (end,) = robot.wait_for(lambda ask=ask, topic=topic: ask(topic), topic)
            assert (end.qos_profile.reliability == ReliabilityPolicy.RELIABLE) == reliable, topic
    finally:
        robot.close()
        assert node.stop()[0] == 0


def test_ros_arguments_that_cannot_be_used_are_one_line(ros: None) -> None:
    node = NodeProcess('--params-file', 'none.yaml')
    assert node.process.wait(timeout=20) == 2
    assert 'focus_depth: cannot start: ' in node.output and 'none.yaml' in node.output
    assert 'Traceback' not in node.output


def test_pictures_that_come_by_another_transport_are_told_of(ros: None, tiny_model: Path) -> None:
    camera = rclpy.create_node('camera')
    camera.create_publisher(CompressedImage, '/cam/image/compressed', 1)
    node = NodeProcess('-p', f'model:={tiny_model}', '-r', 'image:=/cam/image')
    try:
        node.wait_for_output('/cam/image/compressed has: image_transport is compressed? [no_pict')
    finally:
        assert node.stop()[0] == 0
        camera.destroy_node()
    assert node.output.count('no_picture') == 1


def test_without_autostart_it_waits(ros: None, tiny_model: Path) -> None:
    node = NodeProcess('-p', f'model:={tiny_model}', '-p', 'autostart:=false')
    robot = Robot()
    try:
        robot.wait_for(lambda: robot.diagnostics, 'diagnostics')
        assert robot.fact('state') == 'unconfigured'
    finally:
        robot.close()
        assert node.stop()[0] == 0


def test_every_parameter_has_a_description() -> None:
    assert all(len(item.description) > 20 for item in SPECIFICATIONS.values())


@pytest.mark.parametrize('confidence', [0.4, 0.6])
def test_a_reference_may_come_late_and_only_sure_masks_lead_boxes(
    inner_node: FocusDepthNode, monkeypatch: Any, confidence: float
) -> None:
    at_work, pipeline = inner_node._worker, inner_node._pipeline
    assert at_work is not None and pipeline is not None
    happened: list[Any] = []
    maps, result = pipeline.maps, pipeline.result

    def looked(*arguments: Any) -> Any:
        happened.append('network')
        return maps(*arguments)

    def answered(*arguments: Any) -> Any:
        answer = result(*arguments)
        targets = (replace(one, confidence=confidence) for one in answer.targets)
        return replace(answer, targets=tuple(targets))

    monkeypatch.setattr(pipeline, 'maps', looked)
    monkeypatch.setattr(pipeline, 'result', answered)
    camera, targets = at_work.camera, at_work.targets
    monkeypatch.setattr(camera.reference, 'of', lambda _: happened.append('reference'))
    monkeypatch.setattr(targets, 'settle', lambda boxes: happened.append(list(boxes)))
    monkeypatch.setattr(type(at_work.outputs), 'any_wanted', lambda _: True)
    targets.command(Target('it', '', box=(50.0, 50.0, 200.0, 180.0)), append=False)
    camera.pictures.put(serialize_message(picture()))
    deadline = time.monotonic() + 10
    while len(happened) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert happened == ['network', 'reference', ['it'] if confidence > 0.5 else []]


def test_an_engine_that_hangs_is_said_and_left_behind(
    inner_node: FocusDepthNode, monkeypatch: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker, 'STUCK_S', 0.3)
    monkeypatch.setattr(worker, 'SLOW_S', 0.1)
    at_work, pipeline, released = inner_node._worker, inner_node._pipeline, threading.Event()
    assert at_work is not None and pipeline is not None
    monkeypatch.setattr(at_work, '_answer', lambda message: released.wait(30))
    closed: list[None] = []
    monkeypatch.setattr(pipeline.model, 'close', lambda: closed.append(None))
    at_work.camera.pictures.put(b'a picture')
    deadline = time.monotonic() + 10
    while not at_work.delay and time.monotonic() < deadline:
        time.sleep(0.02)
    assert 'the picture at hand has taken' in at_work.delay
    inner_node.trigger_deactivate()
    assert 'cannot deactivate: the engine has not answered' in capfd.readouterr().err
    assert inner_node._state == 'unconfigured' and not closed  # what it is in is not freed
    released.set()
    at_work._thread.join(10)
    assert not at_work.delay


def test_what_fails_later_did_not_fail_to_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((rclpy, 'init'), (rclpy, 'try_shutdown'), (signal, 'signal')):
        monkeypatch.setattr(module, name, lambda *_, **__: None)  # this process goes on

    def prepare(stack: ExitStack) -> Callable[[], None]:
        return _breaks

    assert run_in_ros('node', [], prepare) == 1
    said = capsys.readouterr().err
    assert 'node: stopped: the device is gone' in said and 'Traceback' in said
    assert run_in_ros('node', [], lambda stack: _breaks()) == 2
    said = capsys.readouterr().err
    assert said == 'node: cannot start: the device is gone\n'
