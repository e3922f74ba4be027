"""Depth Anything V2 Small as an ONNX graph with random weights: what else a user could run."""

from __future__ import annotations

import warnings
from pathlib import Path

NEEDED = ('torch', 'transformers', 'onnx')
"""Modules that the export takes."""
SIZE = (336, 252)
"""Width and height of a small 4:3 picture in whole patches of 14 px."""


def export_depth_anything_small(folder: Path) -> tuple[Path, tuple[int, int]]:
    """Build the architecture and export it; the graph and its input size (width, height).

    Raises ModuleNotFoundError without torch, transformers or onnx.
    """
    import onnx  # noqa: F401  (the exporter asks for it late)
    import torch
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    torch.manual_seed(0)
    backbone = Dinov2Config(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        image_size=518,
        patch_size=14,
        out_features=['stage3', 'stage6', 'stage9', 'stage12'],
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=384,
        patch_size=14,
        neck_hidden_sizes=[48, 96, 192, 384],
        fusion_hidden_size=64,
        head_hidden_size=32,
    )
    network = DepthAnythingForDepthEstimation(config).eval()
    width, height = SIZE
    graph = folder / 'depth_anything_v2_small.onnx'
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, height, width),),
            graph,
            input_names=['pixel_values'],
            output_names=['predicted_depth'],
            opset_version=17,
            dynamo=False,
        )
    return graph, SIZE
