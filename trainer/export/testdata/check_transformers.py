"""Loads the folder that a repair exported, as a user would, and compares what transformers makes of it with Ressa.

    python check_transformers.py FOLDER ASKED          compare with what Ressa computed:
        RESSA_EXPORT_DIR=FOLDER RESSA_ASKED=ASKED go test -run TransformersReadsAnExport ./trainer/export
    python check_transformers.py FOLDER ASKED --write  make the golden: ../../demo/model asked.json --write

Model, tokenizer and image processor all come from FOLDER. Weights are bf16 and computed with in float32, as Ressa does.
Needs torch 2, transformers 5 and pillow.
"""

import hashlib
import json
import pathlib
import sys

import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoTokenizer, CLIPImageProcessor, LlavaForConditionalGeneration

HERE = pathlib.Path(__file__).parent
QUESTIONS = [
    ("grid.png", "what is top left"),
    ("grid.png", "how many bag"),
    ("wide.png", "is sandal above boot"),
]
STRIDE = 37  # of the pixels that are compared

folder, asked = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
if "--write" in sys.argv:  # an image that has to be resized and cropped
    Image.open(HERE / "grid.png").convert("RGB").resize((131, 90), Image.Resampling.LANCZOS).save(HERE / "wide.png", optimize=True)

model, info = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
    assert not info[what], (what, info[what])
model.eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
processor = CLIPImageProcessor.from_pretrained(folder)

weights = load_file(folder / "model.safetensors")
assert {w.dtype for w in weights.values()} == {torch.bfloat16}
if (folder / "masks.safetensors").exists():
    masks = load_file(folder / "masks.safetensors")
    for name, mask in masks.items():
        pruned = weights[name][~mask]
        assert (pruned == 0).all() and not torch.signbit(pruned).any(), name
    kept = sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
    print(f"{len(masks)} masks keep {kept:.4f}; every other weight is +0.0")

image_token = model.config.image_token_id
places = (model.config.vision_config.image_size // model.config.vision_config.patch_size) ** 2
results = []
for name, question in QUESTIONS:
    ids = tokenizer("<image> " + question)["input_ids"]
    ids = [t for i in ids for t in ([i] * places if i == image_token else [i])]
    pixels = processor(Image.open(HERE / name).convert("RGB"), return_tensors="pt")["pixel_values"].float()
    inputs = dict(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), pixel_values=pixels)
    with torch.no_grad():
        logits = model(**inputs).logits[0, -1]
        new = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, len(ids):]
    results.append(dict(image=name, question=question, ids=ids, pixels=[round(x, 6) for x in pixels.flatten().tolist()[::STRIDE]],
                        logits=[round(x, 6) for x in logits.tolist()], answer=tokenizer.decode(new, skip_special_tokens=True)))

if "--write" in sys.argv:
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    asked.write_text(json.dumps({"model_sha256": digest})[:-1] + ', "asked": [\n' + ",\n".join(json.dumps(r) for r in results) + "\n]}\n")
    print("wrote", asked)
else:
    for r, want in zip(results, json.loads(asked.read_text())["asked"], strict=True):
        assert r["ids"] == want["ids"], (r["ids"], want["ids"])
        assert r["answer"] == want["answer"], (r["answer"], want["answer"])
        dp = (torch.tensor(r["pixels"]) - torch.tensor(want["pixels"])).abs().max().item()
        dz = (torch.tensor(r["logits"]) - torch.tensor(want["logits"])).abs() / (1 + torch.tensor(r["logits"]).abs())
        assert dp <= 1.01 / 255 / 0.353 and dz.max() <= 1e-4, (dp, dz.max())
        print(f"{r['image']}: {r['question']}? {r['answer']}  (pixels within {dp:.1e}, logits within {dz.max():.1e})")
