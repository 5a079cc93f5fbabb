"""Loads an exported folder into transformers as a user would, and makes
logits.json: what it computes for the input of TestTransformersComputesTheSame.

It also checks what a user would: no missing or unexpected tensor, every masked
weight exactly +0.0, at most one of two kept.

Run: RESSA_EXPORT_DIR=/tmp/out go test -run TransformersComputesTheSame .
     python testdata/load_in_transformers.py /tmp/out  (torch 2.x, transformers 5)
"""

import json
import math
import pathlib
import sys

import torch
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration

folder = pathlib.Path(sys.argv[1])
model, info = LlavaForConditionalGeneration.from_pretrained(folder, dtype="auto", attn_implementation="eager", output_loading_info=True)
for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
    assert not info[what], (what, info[what])

weights, masks = load_file(folder / "model.safetensors"), load_file(folder / "masks.safetensors")
for name, mask in masks.items():
    pruned = weights[name][~mask]
    assert (pruned == 0).all() and not torch.signbit(pruned).any(), name
    kept = mask.reshape(mask.shape[0], -1, 2).sum(-1)
    assert kept.max() <= 1, name

config = model.config
patches = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
tokens = torch.tensor([[config.image_token_index] * patches + [(patches + t) % 7 for t in range(3)]])
count = 3 * config.vision_config.image_size**2
pixels = torch.tensor([math.sin(i) for i in range(count)], dtype=torch.float64).to(model.dtype)
with torch.no_grad():
    out = model(input_ids=tokens, pixel_values=pixels.reshape(1, 3, config.vision_config.image_size, config.vision_config.image_size))
path = pathlib.Path(__file__).with_name("logits.json")
path.write_text(json.dumps([round(x, 8) for x in out.logits.double().flatten().tolist()]) + "\n")
print(len(masks), "masks,", out.logits.shape)
