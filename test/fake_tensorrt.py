"""TensorRT stood in for: the bindings' own names and signatures, ONNX Runtime's answers.

`fake_tensorrt(version, gpu)` is a module `tensorrt` whose classes have the members that the real
bindings of that version have (tensorrt_facts.json): a call with another name, another number of
arguments or other types fails as it would there. What an engine computes is real, for its plan
carries the typed ONNX graph and ONNX Runtime runs it, on the fake GPU's memory and streams.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import inspect
import json
import re
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
from fake_cuda import FakeGpu

FACTS = json.loads(Path(__file__).with_name('tensorrt_facts.json').read_text())
VERSIONS = tuple(FACTS)
MAGIC = b'FAKE PLAN '
PLAIN_TYPES = {'int': int, 'str': str, 'bool': bool, 'float': float, 'tuple': tuple}
STEPS = 4
"""Steps that each of the fake builder's phases takes."""


def fake_tensorrt(version: str, gpu: FakeGpu) -> ModuleType:
    """A module that stands in for `tensorrt`; `module.fake` is what tests turn and look at."""
    facts = FACTS[version]
    trt: Any = ModuleType('tensorrt')
    trt.__version__ = version
    trt.fake = Knobs()
    for name, members in facts['enums'].items():
        setattr(trt, name, enum.IntEnum(name, [(each, i) for i, each in enumerate(members)]))
    behaviours = _behaviours(trt, gpu)
    for name, members in facts['classes'].items():
        setattr(trt, name, _strict(trt, name, members, behaviours.get(name, object)))
    severities = ['INTERNAL_ERROR', 'ERROR', 'WARNING', 'INFO', 'VERBOSE']
    trt.ILogger.Severity = enum.IntEnum(
        'Severity', [(each, i) for i, each in enumerate(severities)]
    )
    for each in severities:
        setattr(trt.ILogger, each, trt.ILogger.Severity[each])
    if 'nptype' in facts['functions']:
        trt.nptype = lambda dtype: _NUMPY[dtype.name]
    return trt


class Knobs:
    """How the fake behaves, and what was done with it."""

    def __init__(self) -> None:
        self.builds: list[dict[str, Any]] = []
        self.step_s = 0.0
        self.logger: Any = None
        self.build_error = ''
        self.load_error = ''
        self.cuda_error = ''
        self.scratch = 1000
        self.gain = 1.0


_NUMPY = {'FLOAT': np.float32, 'HALF': np.float16, 'INT32': np.int32, 'UINT8': np.uint8}
_KINDS = {np.dtype(value): name for name, value in _NUMPY.items()}


def _strict(trt: Any, name: str, members: dict[str, str], behaviour: type) -> type:
    """A class with the members that the facts name, doing what `behaviour` says."""
    own = {key for key in vars(behaviour) if not key.startswith('_')}
    assert own <= set(members), f'{name} has no {sorted(own - set(members))}'

    def setattr_(self: Any, key: str, value: Any) -> None:
        known = members.get(key)
        if type(self).__module__ == 'fake' and known != 'property' and not key.startswith('_'):
            raise AttributeError(f'{name}.{key} cannot be set')
        object.__setattr__(self, key, value)

    def getattr_(self: Any, key: str) -> Any:
        if key in members:
            raise NotImplementedError(f'the fake does not play {name}.{key}')
        raise AttributeError(f'{name} has no {key}')

    body: dict[str, Any] = {'__setattr__': setattr_, '__getattr__': getattr_, '__module__': 'fake'}
    for key, fact in members.items():
        function = vars(behaviour).get(key)
        if key == '__init__' and fact:
            function = vars(behaviour).get('__init__', lambda self: None)
        if inspect.isfunction(function) and fact.startswith('('):
            body[key] = _checked(trt, f'{name}.{key}', fact, function)
    return type(name, (behaviour,), body)


def _checked(trt: Any, name: str, fact: str, function: Any) -> Any:
    overloads = [_parameters(text[1:-1]) for text in re.split(r' \| (?=\()', fact)]

    @functools.wraps(function)
    def call(self: Any, *values: Any, **named: Any) -> Any:
        if not any(_fits(trt, parameters, values, named) for parameters in overloads):
            raise TypeError(f'{name}{fact} was called with {values} {named}')
        return function(self, *values, **named)

    return call


def _parameters(text: str) -> list[tuple[str, str, bool]]:
    """(name, type, must be given) of 'a: int, b: str = None'."""
    found = []
    for part in re.split(r', (?=\w+: )', text) if text else []:
        name, _, rest = part.partition(': ')
        kind, _, default = rest.partition(' = ')
        found.append((name, kind, not default))
    return found


def _fits(trt: Any, parameters: list[Any], values: tuple[Any, ...], named: dict[str, Any]) -> bool:
    if len(values) > len(parameters):
        return False
    given = dict(zip((name for name, _, _ in parameters), values, strict=False))
    if set(given) & set(named) or not set(named) <= {name for name, _, _ in parameters}:
        return False
    given |= named
    return all(
        _is_a(trt, given[name], kind) if name in given else not must
        for name, kind, must in parameters
    )


def _is_a(trt: Any, value: Any, kind: str) -> bool:
    if kind in PLAIN_TYPES:
        wanted = PLAIN_TYPES[kind]
        return isinstance(value, wanted) and (wanted is not int or not isinstance(value, bool))
    if kind == 'buffer':
        return isinstance(value, bytes | bytearray | memoryview)
    if kind == 'Dims':
        return isinstance(value, tuple) and all(isinstance(size, int) for size in value)
    owner = functools.reduce(lambda at, name: getattr(at, name, None), kind.split('.'), trt)
    return isinstance(owner, type) and isinstance(value, owner)


def _behaviours(trt: Any, gpu: FakeGpu) -> dict[str, type]:
    """What the classes do; they create one another through `trt`, so that all are strict."""

    def new(kind: str, /, **state: Any) -> Any:
        made = object.__new__(getattr(trt, kind))
        for key, value in state.items():
            object.__setattr__(made, key, value)
        return made

    class IHostMemory(bytes):
        """The real one is a buffer; bytes are the nearest to it."""

    def registered(logger):
        """The real one takes the first it is given, calls that for ever and warns of others."""
        trt.fake.logger = trt.fake.logger or logger
        assert logger is trt.fake.logger, 'one logger a process'
        if trt.fake.cuda_error:
            logger.log(trt.ILogger.ERROR, trt.fake.cuda_error)
            raise TypeError('pybind11::init(): factory function returned nullptr')
        return logger

    class Builder:
        def __init__(self, logger):
            self._logger = registered(logger)

        def create_network(self, flags=0):
            strongly_typed = 1 << trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
            assert flags == strongly_typed, 'the only kind that 10 and 11 both know'
            return new('INetworkDefinition', _model=None)

        def create_builder_config(self):
            return new(
                'IBuilderConfig',
                _flags={trt.BuilderFlag.TF32},
                _pools={},
                _profiles=[],
                _timing=None,
            )

        def create_optimization_profile(self):
            return new('IOptimizationProfile', _shapes={})

        def build_serialized_network(self, network, config):
            if trt.fake.build_error:
                self._logger.log(trt.ILogger.ERROR, trt.fake.build_error)
                return None
            if not _play_progress(trt.fake, config.__dict__.get('progress_monitor')):
                return None
            header = {
                'version': trt.__version__,
                'flags': sorted(flag.name for flag in config._flags),
                'pools': config._pools,
                'profile': config._profiles[0]._shapes if config._profiles else {},
                'hardware': int(config.__dict__.get('hardware_compatibility_level', 0)),
            }
            trt.fake.builds.append(header)
            config._timing._entries += b'measured '
            head = json.dumps(header).encode()
            return MAGIC + len(head).to_bytes(4, 'big') + head + network._model.SerializeToString()

    class INetworkDefinition:
        @property
        def num_inputs(self):
            return len(self._model.graph.input)

        def get_input(self, index):
            value = self._model.graph.input[index]
            return new('ITensor', name=value.name, shape=_shape(value))

    class OnnxParser:
        def __init__(self, network, logger):
            self._network, self._faults = network, []

        def parse(self, model, path=None):
            try:
                graph = onnx.load_from_string(model)
                onnx.checker.check_model(graph, full_check=True)
                self._faults = _refusals(graph)
            except Exception as error:
                self._faults = [str(error)]
            self._network._model = None if self._faults else graph
            return not self._faults

        @property
        def num_errors(self):
            return len(self._faults)

        def get_error(self, index):
            return new('ParserError', _text=self._faults[index])

    class ParserError:
        def desc(self):
            return self._text

    class IOptimizationProfile:
        def set_shape(self, input, min, opt, max):
            assert all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True))
            self._shapes[input] = [min, opt, max]

    class IBuilderConfig:
        def set_flag(self, flag):
            self._flags.add(flag)

        def clear_flag(self, flag):
            self._flags.discard(flag)

        def set_memory_pool_limit(self, pool, pool_size):
            self._pools[pool.name] = pool_size

        def add_optimization_profile(self, profile):
            self._profiles.append(profile)
            return len(self._profiles) - 1

        def create_timing_cache(self, serialized_timing_cache):
            return new('ITimingCache', _entries=bytes(serialized_timing_cache))

        def set_timing_cache(self, cache, ignore_mismatch):
            if not re.fullmatch(rb'(measured )*', cache._entries):
                return False
            self._timing = cache
            return True

    class ITimingCache:
        def serialize(self):
            return self._entries

    class Runtime:
        def __init__(self, logger):
            self._logger = registered(logger)

        def deserialize_cuda_engine(self, serialized_engine):
            if trt.fake.load_error or not serialized_engine.startswith(MAGIC):
                self._logger.log(
                    trt.ILogger.ERROR, trt.fake.load_error or 'Magic tag does not match'
                )
                return None
            start = len(MAGIC) + 4
            size = int.from_bytes(serialized_engine[start - 4 : start], 'big')
            header = json.loads(serialized_engine[start : start + size])
            host_code = self.__dict__.get('engine_host_code_allowed', False)
            if 'VERSION_COMPATIBLE' in header['flags'] and not host_code:
                self._logger.log(trt.ILogger.ERROR, 'the plan carries host code')
                return None
            return new('ICudaEngine', **_engine_state(serialized_engine[start + size :], header))

    class ICudaEngine:
        @property
        def num_io_tensors(self):
            return len(self._names)

        @property
        def device_memory_size_v2(self):
            return trt.fake.scratch

        def get_tensor_name(self, index):
            return self._names[index]

        def get_tensor_mode(self, name):
            modes = trt.TensorIOMode
            return modes.INPUT if name in self._inputs else modes.OUTPUT

        def get_tensor_dtype(self, name):
            return trt.DataType[_KINDS[self._dtypes[name]]]

        def get_tensor_shape(self, name):
            return self._shapes[name]

        def get_tensor_profile_shape(self, name, profile_index):
            assert profile_index == 0
            return [tuple(shape) for shape in self._profile[name]]

        def create_execution_context(self, strategy):
            assert strategy is trt.ExecutionContextAllocationStrategy.USER_MANAGED
            return new('IExecutionContext', _engine=self, _addresses={}, _at={}, _scratch=None)

    class IExecutionContext:
        def set_device_memory(self, memory, size):
            assert size >= trt.fake.scratch and memory in gpu.blocks
            self._scratch = memory

        def set_input_shape(self, name, shape):
            engine = self._engine
            if engine._profile.get(name):
                low, _, high = engine._profile[name]
                if not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
                    return False
            elif shape != engine._shapes[name]:
                return False
            self._at[name] = shape
            return True

        def get_tensor_shape(self, name):
            if name in self._engine._inputs:
                return self._at.get(name, self._engine._shapes[name])
            rows = next((self._at[each][0] for each in self._engine._profile), -1)
            return tuple(rows if size == -1 else size for size in self._engine._shapes[name])

        def set_tensor_address(self, name, memory):
            self._addresses[name] = memory
            return True

        def execute_async_v3(self, stream_handle):
            engine, addresses, at = self._engine, dict(self._addresses), dict(self._at)
            if set(addresses) != set(engine._names) or self._scratch is None or gpu.lost:
                return False
            outputs = {name: self.get_tensor_shape(name) for name in engine._outputs}

            def work() -> None:
                feed = {
                    name: _memory(addresses[name], at[name], engine._dtypes[name]).copy()
                    for name in engine._inputs
                }
                answers = engine._session.run(engine._outputs, feed)
                for name, answer in zip(engine._outputs, answers, strict=True):
                    assert answer.shape == outputs[name], (name, answer.shape, outputs[name])
                    place = _memory(addresses[name], answer.shape, engine._dtypes[name])
                    place[...] = answer * trt.fake.gain

            gpu.streams[stream_handle].put(work)
            return True

    return {
        name: kind
        for name, kind in locals().items()
        if isinstance(kind, type) and name not in ('IHostMemory', 'FakeGpu')
    }


def _play_progress(fake: Knobs, monitor: Any) -> bool:
    """Two phases, one within the other, as TensorRT's builder tells of them."""
    monitor.phase_start('Building Engine', None, STEPS)
    goes_on = True
    for outer in range(STEPS):
        monitor.phase_start('Timing Tactics', 'Building Engine', STEPS)
        for inner in range(STEPS):
            time.sleep(fake.step_s)
            goes_on = goes_on and monitor.step_complete('Timing Tactics', inner)
            if not goes_on:
                break
        monitor.phase_finish('Timing Tactics')
        goes_on = goes_on and monitor.step_complete('Building Engine', outer)
        if not goes_on:
            break
    monitor.phase_finish('Building Engine')
    return goes_on


def _refusals(model: onnx.ModelProto) -> list[str]:
    """What the real parser or builder is known to refuse."""
    pictures = {value.name for value in model.graph.input if value.type.tensor_type.elem_type == 2}
    faults = []
    for node in model.graph.node:
        if node.op_type in ('If', 'Loop', 'Scan'):
            faults.append(f'{node.op_type}: branches of different rank')
        if pictures & set(node.input) and node.op_type != 'Cast':
            faults.append(f'{node.op_type}: uint8 can only be cast')
    return faults


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(
        size.dim_value if size.HasField('dim_value') else -1
        for size in value.type.tensor_type.shape.dim
    )


def _engine_state(graph: bytes, header: dict[str, Any]) -> dict[str, Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(graph, options, providers=['CPUExecutionProvider'])
    model = onnx.load_from_string(graph)
    values = [*model.graph.input, *model.graph.output]
    return {
        '_session': session,
        '_inputs': [value.name for value in model.graph.input],
        '_outputs': [value.name for value in model.graph.output],
        '_names': [value.name for value in values],
        '_shapes': _known_shapes(session, values),
        '_dtypes': {
            value.name: onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            for value in values
        },
        '_profile': header['profile'],
    }


def _known_shapes(session: Any, values: list[Any]) -> dict[str, tuple[int, ...]]:
    """Shapes with -1 for what the number of targets decides, as TensorRT finds them out."""
    feeds = [
        {
            node.name: np.zeros(
                [size if isinstance(size, int) else rows for size in node.shape],
                {'tensor(uint8)': 'u1', 'tensor(int32)': 'i4', 'tensor(float)': 'f4'}[node.type],
            )
            for node in session.get_inputs()
        }
        for rows in (1, 2)
    ]
    ones, twos = (session.run(None, feed) for feed in feeds)
    names = [node.name for node in session.get_outputs()]
    shapes = {
        name: tuple(a if a == b else -1 for a, b in zip(one.shape, two.shape, strict=True))
        for name, one, two in zip(names, ones, twos, strict=True)
    }
    inputs = {value.name: _shape(value) for value in values if value.name not in shapes}
    return inputs | shapes


def _memory(address: int, shape: tuple[int, ...], dtype: Any) -> Any:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    block = (ctypes.c_uint8 * size).from_address(address)
    return np.frombuffer(block, dtype).reshape(shape)
