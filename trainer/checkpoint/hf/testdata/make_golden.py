"""Writes what transformers makes of a tiny LLaVA model:

    llava/          the folder of save_pretrained, in shards
    spellings.json  for each spelling the key of every module's tensor, after
                    from_pretrained and save_pretrained, which keep a spelling

    python make_golden.py

Made with transformers 5.23.0 and torch 2.15.0.
"""
import json
import os
import shutil
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

here = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(0)
vision = CLIPVisionConfig(hidden_size=4, intermediate_size=4, num_hidden_layers=2, num_attention_heads=1,
                          image_size=4, patch_size=2, projection_dim=4)
text = LlamaConfig(hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=2,
                   num_key_value_heads=1, vocab_size=8)
model = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_index=7)).bfloat16()
folder = os.path.join(here, "llava")
shutil.rmtree(folder, ignore_errors=True)
model.save_pretrained(folder, max_shard_size=800)

modules = model.state_dict()
spellings = {}
for original in (False, True):
    for vision_model in (False, True):
        with tempfile.TemporaryDirectory() as d:
            model.config.save_pretrained(d)
            keys = {}
            for name in modules:
                key = name
                if vision_model:
                    key = key.replace("model.vision_tower.", "model.vision_tower.vision_model.")
                if original:
                    if key.startswith("lm_head."):
                        key = "language_model." + key
                    elif key.startswith("model.language_model."):
                        key = "language_model.model." + key.removeprefix("model.language_model.")
                    else:
                        key = key.removeprefix("model.")
                keys[name] = key
            save_file({keys[n]: t.contiguous() for n, t in modules.items()}, os.path.join(d, "model.safetensors"), {"format": "pt"})
            loaded, info = LlavaForConditionalGeneration.from_pretrained(d, output_loading_info=True, dtype=torch.bfloat16)
            assert not any(info.values()), info
            assert all(torch.equal(t, loaded.state_dict()[n]) for n, t in modules.items())
            loaded.save_pretrained(os.path.join(d, "again"))
            assert sorted(load_file(os.path.join(d, "again", "model.safetensors"))) == sorted(keys.values())
            spellings[f"original={original} vision_model={vision_model}".lower()] = dict(sorted(keys.items()))
with open(os.path.join(here, "spellings.json"), "w") as f:
    json.dump(spellings, f, indent=1, sort_keys=True)
    f.write("\n")
