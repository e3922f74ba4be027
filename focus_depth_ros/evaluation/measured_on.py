"""What a figure was measured on: the day, the machine, the model, clocks, memory and versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from focus_depth_ros import __version__
from focus_depth_ros.inference.model_folder import ModelFolder

PACKAGES = (
    'numpy', 'onnxruntime', 'onnxruntime-gpu', 'opencv-python-headless', 'rclpy', 'tensorrt',
    'torch', 'transformers',
)  # fmt: skip

GPU_ANSWERS_S = 10.0
INSTRUCTIONS = {
    'avx512_vnni': 'AVX-512 VNNI',
    'avx_vnni': 'AVX VNNI',
    'avx512f': 'AVX-512',
    'avx2': 'AVX2',
    'asimddp': "Arm's dot product",
}
"""Flags of /proc/cpuinfo, the best first, and how they are called."""


def when_and_where() -> dict[str, Any]:
    """What every report of measured figures begins with: the day (UTC) and the host."""
    return {'date': datetime.now(timezone.utc).date().isoformat(), 'host': host()}


def in_words(report: dict[str, Any]) -> str:
    """`when_and_where` of a report that is printed."""
    return f'{report["host"]["processor"]}, {report["host"]["cores"]} cores; {report["date"]}'


def identity(folder: ModelFolder) -> dict[str, str]:
    """Which model it was."""
    return {'name': folder.name, 'version': folder.version, 'sha256': folder.sha256}


def processor(listing: Path = Path('/proc/cpuinfo')) -> str:
    """The CPU's name where the system tells it, else its kind; and what int8 depends on."""
    lines = listing.read_text(encoding='utf-8').splitlines() if listing.is_file() else []
    facts = {name.strip(): value.strip() for name, _, value in (s.partition(':') for s in lines)}
    flags = set(facts.get('flags', facts.get('Features', '')).split())
    name = facts.get('model name', platform.machine())
    best = next((words for flag, words in INSTRUCTIONS.items() if flag in flags), '')
    return f'{name} with {best}' if best else name


def host() -> dict[str, Any]:
    """The machine."""
    return {
        'processor': processor(),
        'cores': len(os.sched_getaffinity(0)),
        'load_average': os.getloadavg()[0],
        'gpu': _nvidia_smi('name,driver_version'),
    }


def versions() -> dict[str, str]:
    """Of Python, this package and every other that takes part, where it is there."""
    found = {'python': platform.python_version(), 'focus_depth_ros': __version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def clocks() -> dict[str, Any]:
    """Clocks right now, in MHz; empty where the system does not tell."""
    files = sorted(Path('/sys/devices/system/cpu').glob('cpu[0-9]*/cpufreq/scaling_cur_freq'))
    return {
        'cpu_mhz': [int(file.read_text()) // 1000 for file in files],
        'gpu': _nvidia_smi('clocks.sm,clocks.mem,power.draw,temperature.gpu'),
    }


def memory() -> dict[str, Any]:
    """The process's peak in MiB, and what the GPU holds."""
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {'process_peak_mib': round(peak_mib, 1), 'gpu': _nvidia_smi('memory.used')}


def _nvidia_smi(fields: str) -> str:
    """One line of what a GPU says of itself; empty without one that answers."""
    program = shutil.which('nvidia-smi')
    if program is None:
        return ''
    asked = [program, f'--query-gpu={fields}', '--format=csv,noheader']
    try:
        answer = subprocess.run(
            asked, capture_output=True, text=True, check=True, timeout=GPU_ANSWERS_S
        )
    except (OSError, subprocess.SubprocessError):  # a driver that hangs or is not there
        return ''
    return answer.stdout.strip()
