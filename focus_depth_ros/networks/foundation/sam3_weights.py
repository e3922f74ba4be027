"""SAM3 from a user's file or folder: the original layout, or that of `transformers`.

The weights are gated and stand under Meta's SAM License; whoever names the folder has accepted it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor
from transformers import Sam3Config

from focus_depth_ros.networks.foundation.checkpoints import (
    Rule,
    WeightsError,
    load_strictly,
    read_config,
    read_tensors,
    renamed,
)
from focus_depth_ros.networks.foundation.dinov2 import PATCH
from focus_depth_ros.networks.foundation.sam3 import Sam3

LICENCE = 'LicenseRef-SAM-License'
SIDE = 1008

_VISION = r'^backbone\.vision_backbone'
_TEXT = r'^backbone\.language_backbone'
_TEXT_LAYERS = 'text_encoder.text_model.encoder.layers'
_DECODER = r'^transformer\.decoder'

ORIGINAL_NAMES: tuple[Rule, ...] = (
    (r'^detector\.', ''),
    (rf'{_VISION}\.trunk\.pos_embed', 'vision_encoder.backbone.embeddings.position_embeddings'),
    (
        rf'{_VISION}\.trunk\.patch_embed\.proj',
        'vision_encoder.backbone.embeddings.patch_embeddings.projection',
    ),
    (rf'{_VISION}\.trunk\.ln_pre', 'vision_encoder.backbone.layer_norm'),
    (rf'{_VISION}\.trunk\.blocks\.(\d+)\.norm', r'vision_encoder.backbone.layers.\1.layer_norm'),
    (
        rf'{_VISION}\.trunk\.blocks\.(\d+)\.attn\.proj',
        r'vision_encoder.backbone.layers.\1.attention.o_proj',
    ),
    (
        rf'{_VISION}\.trunk\.blocks\.(\d+)\.attn\.qkv\.',
        r'vision_encoder.backbone.layers.\1.attention.in_proj_',
    ),
    (rf'{_VISION}\.trunk\.blocks\.', 'vision_encoder.backbone.layers.'),
    (
        rf'{_VISION}\.convs\.(\d)\.dconv_2x2(_0)?\.',
        r'vision_encoder.neck.fpn_layers.\1.scale_layers.0.',
    ),
    (
        rf'{_VISION}\.convs\.(\d)\.dconv_2x2_1\.',
        r'vision_encoder.neck.fpn_layers.\1.scale_layers.2.',
    ),
    (rf'{_VISION}\.convs\.(\d)\.conv_1x1', r'vision_encoder.neck.fpn_layers.\1.proj1'),
    (rf'{_VISION}\.convs\.(\d)\.conv_3x3', r'vision_encoder.neck.fpn_layers.\1.proj2'),
    (rf'{_TEXT}\.resizer', 'text_projection'),
    (
        rf'{_TEXT}\.encoder\.token_embedding',
        'text_encoder.text_model.embeddings.token_embedding',
    ),
    (
        rf'{_TEXT}\.encoder\.positional_embedding',
        'text_encoder.text_model.embeddings.position_embedding.weight',
    ),
    (rf'{_TEXT}\.encoder\.ln_final', 'text_encoder.text_model.final_layer_norm'),
    (rf'{_TEXT}\.encoder\.transformer\.resblocks\.(\d+)\.ln_', rf'{_TEXT_LAYERS}.\1.layer_norm'),
    (rf'{_TEXT}\.encoder\.transformer\.resblocks\.(\d+)\.attn', rf'{_TEXT_LAYERS}.\1.self_attn'),
    (rf'{_TEXT}\.encoder\.transformer\.resblocks\.', f'{_TEXT_LAYERS}.'),
    (r'\.mlp\.c_fc\.', '.mlp.fc1.'),
    (r'\.mlp\.c_proj\.', '.mlp.fc2.'),
    (r'^geometry_encoder\.encode\.', 'geometry_encoder.layers.'),
    (r'^geometry_encoder\.encode_norm', 'geometry_encoder.output_layer_norm'),
    (r'^geometry_encoder\.norm', 'geometry_encoder.prompt_layer_norm'),
    (r'^geometry_encoder\.img_pre_norm', 'geometry_encoder.vision_layer_norm'),
    (r'^transformer\.encoder\.', 'detr_encoder.'),
    (r'^((?:geometry|detr)_encoder\.layers\.\d+)\.norm', r'\1.layer_norm'),
    (r'^((?:geometry|detr)_encoder\.layers\.\d+)\.cross_attn_image', r'\1.cross_attn'),
    # The decoder's norms are numbered in another order than its attentions.
    (rf'{_DECODER}\.layers\.(\d+)\.ca_text', r'detr_decoder.layers.\1.text_cross_attn'),
    (
        rf'{_DECODER}\.layers\.(\d+)\.catext_norm',
        r'detr_decoder.layers.\1.text_cross_attn_layer_norm',
    ),
    (rf'{_DECODER}\.layers\.(\d+)\.cross_attn', r'detr_decoder.layers.\1.vision_cross_attn'),
    (rf'{_DECODER}\.layers\.(\d+)\.norm1', r'detr_decoder.layers.\1.vision_cross_attn_layer_norm'),
    (rf'{_DECODER}\.layers\.(\d+)\.norm2', r'detr_decoder.layers.\1.self_attn_layer_norm'),
    (rf'{_DECODER}\.layers\.(\d+)\.norm3', r'detr_decoder.layers.\1.mlp_layer_norm'),
    (r'^(.*\.layers\.\d+)\.linear([12])', r'\1.mlp.fc\2'),
    (rf'{_DECODER}\.norm', 'detr_decoder.output_layer_norm'),
    (rf'{_DECODER}\.bbox_embed', 'detr_decoder.box_head'),
    (rf'{_DECODER}\.boxRPB_embed_([xy])', r'detr_decoder.box_rpb_embed_\1'),
    (rf'{_DECODER}\.presence_token_head', 'detr_decoder.presence_head'),
    (rf'{_DECODER}\.presence_token_out_norm', 'detr_decoder.presence_layer_norm'),
    (rf'{_DECODER}\.', 'detr_decoder.'),
    (r'^segmentation_head\.cross_attend_prompt', 'mask_decoder.prompt_cross_attn'),
    (r'^segmentation_head\.cross_attn_norm', 'mask_decoder.prompt_cross_attn_norm'),
    (r'^segmentation_head\.instance_seg_head', 'mask_decoder.instance_projection'),
    (r'^segmentation_head\.semantic_seg_head', 'mask_decoder.semantic_projection'),
    (r'^segmentation_head\.mask_predictor\.mask_embed', 'mask_decoder.mask_embedder'),
    (r'^segmentation_head\.', 'mask_decoder.'),
    (r'^dot_prod_scoring\.prompt_mlp\.out_norm', 'dot_product_scoring.text_mlp_out_norm'),
    (r'^dot_prod_scoring\.prompt_mlp', 'dot_product_scoring.text_mlp'),
    (r'^dot_prod_scoring\.prompt_proj', 'dot_product_scoring.text_proj'),
    (r'^dot_prod_scoring\.hs_proj', 'dot_product_scoring.query_proj'),
    *(
        (
            rf'^((?:detr_decoder|dot_product_scoring)\..*)\.layers\.{i}\.(weight|bias)$',
            rf'\1.layer{i + 1}.\2',
        )
        for i in (0, 1, 2)
    ),
)
TRANSFORMERS_NAMES: tuple[Rule, ...] = ((r'^detector_model\.', ''),)
UNNEEDED = (
    r'.*\.freqs_cis$',
    r'backbone\.language_backbone\.encoder\.(text_projection|attn_mask)$',
    r'text_encoder\.text_projection\.',
    r'geometry_encoder\.points_',
    r'backbone\.vision_backbone\.sam2_convs\.',
    r'inst_interactive_predictor\.',
    r'tracker',
)
"""Left over by purpose: tables that are computed, CLIP's own projection, points as prompts, and the
tracker."""


def load_sam3(
    path: Path, visual: tuple[int, ...], side: int = SIDE, config: Sam3Config | None = None
) -> Sam3:
    """Load SAM3's image model for pictures of `side` px from a file or a folder.

    `visual` are the token ids of the caption "visual". Without `config` the one in the folder
    holds, else the published sizes. Raises WeightsError.
    """
    if side < PATCH or side % PATCH:
        raise WeightsError(f'SAM3 sees pictures whose side is a multiple of {PATCH} px, not {side}')
    if config is None:
        content = read_config(path if path.is_dir() else path.parent)
        content = content.get('detector_config', content)
        try:
            fits = content.get('model_type') == 'sam3'
            config = Sam3Config.from_dict(content) if fits else Sam3Config()
        except Exception as error:  # transformers has kinds of its own for this
            raise WeightsError(f"{path}: its config.json is not SAM3's ({error})") from error
    config.image_size = side
    config.vision_config.backbone_config.image_size = side
    # SAM3's own code trained and runs its backbone with this; `transformers` defaults to 1e-6.
    config.vision_config.backbone_config.layer_norm_eps = 1e-5
    tensors = read_tensors(path)
    if any('vision_backbone.trunk.' in name for name in tensors):
        tensors = _in_three(renamed(tensors, ORIGINAL_NAMES))
    elif any('vision_encoder.backbone.' in name for name in tensors):
        tensors = renamed(tensors, TRANSFORMERS_NAMES)
    else:
        raise WeightsError(f'{path}: no SAM3 (no vision backbone by its names)')
    network = Sam3(config, visual)
    load_strictly(network.model, tensors, path, UNNEEDED)
    print(f'{path}: SAM3, licence: {LICENCE} (https://github.com/facebookresearch/sam3)')
    return network.eval()


def check_vocabulary(end: int, network: Sam3, source: Path) -> None:
    """Raise WeightsError unless CLIP's list of merges is SAM3's: `end` is its last token's id.

    A list that was cut, or another model's, would shift the tokens of start and end.
    """
    tokens = int(network.model.config.text_config.vocab_size)
    if end + 1 != tokens:
        raise WeightsError(f'{source}: gives {end + 1} tokens, SAM3 has {tokens}; is it whole?')


def _in_three(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stacked projections become queries, keys and values; positions lose their class token."""
    result = {}
    for name, tensor in tensors.items():
        stacked = re.fullmatch(r'(.*\.)in_proj_(weight|bias)', name)
        if stacked:
            for part, piece in zip('qkv', tensor.chunk(3), strict=True):
                result[f'{stacked[1]}{part}_proj.{stacked[2]}'] = piece
        elif name.endswith('embeddings.position_embeddings'):
            result[name] = tensor[:, 1:]
        elif '.out_proj.' in name and not name.startswith('text_encoder.'):
            result[name.replace('.out_proj.', '.o_proj.')] = tensor
        else:
            result[name] = tensor
    return result
