"""Where bfloat16 is worth its rounding: a CPU without it emulates it, many times slower."""

from __future__ import annotations

import torch


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for it (on x86 AVX-512 and later)."""
    return device.type != 'cpu' or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
