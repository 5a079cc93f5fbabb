"""Writes tiny/ (a random LLaVA checkpoint) and goldens.safetensors beside this file.

The goldens hold the inputs, forward logits, losses and the gradient of every
parameter under plain cross-entropy ("dense.*"), and the same for masks and
SparseLoRA on both towers under autograd with distillation from the dense model
("sparse.*"), in float32, and greedy continuations. Run it with a Python that
has torch, transformers and safetensors; their versions are in the metadata.
"""

import json
import os
import shutil

import safetensors
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

HERE = os.path.dirname(os.path.abspath(__file__))
IMAGE, VOCAB, PATCHES = 43, 45, 9
RANK, SCALE, TEMPERATURE, LAMBDA = 3, 2.5, 2.0, 0.4

torch.manual_seed(20240402)
torch.set_num_threads(1)


def build():
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=18, intermediate_size=22, num_hidden_layers=3, num_attention_heads=3, image_size=12, patch_size=4
        ),
        text_config=LlamaConfig(
            vocab_size=VOCAB, hidden_size=24, intermediate_size=34, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=40, rope_theta=500.0, bos_token_id=None, eos_token_id=None,
        ),
        image_token_index=IMAGE,
    )
    config._attn_implementation = "eager"
    model = LlavaForConditionalGeneration(config).float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                p.copy_(1 + 0.2 * torch.randn_like(p))
            else:
                p.copy_(0.25 * torch.randn_like(p))
    return model


def inputs():
    """Three right-padded sequences, two of them with an image."""
    prompts = [
        [3] + [IMAGE] * PATCHES + [7, 11, 2, 30],
        [5, 9] + [IMAGE] * PATCHES + [12, 8, 8, 21, 40, 6],
        [4, 17, 23, 1, 14, 14],
    ]
    answers = [2, 3, 4]  # tokens at the end of each sequence that are predicted
    length = max(map(len, prompts))
    ids = torch.zeros(len(prompts), length, dtype=torch.long)
    attend = torch.zeros_like(ids)
    labels = torch.full_like(ids, -1)  # shifted: labels[t] is predicted from position t
    for i, (p, n) in enumerate(zip(prompts, answers)):
        ids[i, : len(p)] = torch.tensor(p)
        attend[i, : len(p)] = 1
        for t in range(len(p) - n - 1, len(p) - 1):
            labels[i, t] = p[t + 1]
    return ids, attend, labels, torch.randn(2, 3, 12, 12)


def run(model, weights, ids, attend, pixels):
    return torch.func.functional_call(
        model, weights, kwargs=dict(input_ids=ids, attention_mask=attend, pixel_values=pixels)
    ).logits


def adapted(model):
    """The linears of both towers' used blocks, and of the projector."""
    for name, p in model.named_parameters():
        if p.dim() != 2 or not name.endswith(".weight") or "embed" in name or name.startswith("lm_head"):
            continue
        if "vision_tower.encoder.layers.2." in name:
            continue  # above the feature layer
        yield name, p


def main():
    model = build()
    shutil.rmtree(os.path.join(HERE, "tiny"), ignore_errors=True)
    model.save_pretrained(os.path.join(HERE, "tiny"))
    os.remove(os.path.join(HERE, "tiny", "generation_config.json"))

    ids, attend, labels, pixels = inputs()
    out = {"tokens": ids, "lengths": attend.sum(1), "labels": labels, "pixels": pixels}
    params = dict(model.named_parameters())
    rows = labels >= 0

    logits = run(model, params, ids, attend, pixels)
    loss = F.cross_entropy(logits[rows], labels[rows])
    out["dense.logits"], out["dense.loss"] = logits[rows].detach(), loss.detach()
    grads = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
    for name, g in zip(params, grads):
        if g is not None:
            out["dense.grad." + name] = g

    teacher = logits[rows].detach()
    weights, factors = {}, {}
    for name, p in adapted(model):
        a = torch.randn(RANK, p.shape[1]).mul_(0.2).requires_grad_()
        b = torch.randn(p.shape[0], RANK).mul_(0.2).requires_grad_()
        mask = torch.ones_like(p)
        if "projector" not in name:
            mask = (torch.rand_like(p) < 0.5).float()
        factors[name + ".A"], factors[name + ".B"] = a, b
        out["sparse.mask." + name] = mask.to(torch.uint8)
        weights[name] = (p.detach() + SCALE * (b @ a)) * mask
    student = run(model, {**{n: p.detach() for n, p in params.items()}, **weights}, ids, attend, pixels)[rows]
    ce = F.cross_entropy(student, labels[rows])
    kl = F.kl_div(
        F.log_softmax(student / TEMPERATURE, -1), F.log_softmax(teacher / TEMPERATURE, -1), log_target=True, reduction="sum"
    ) / rows.sum()
    loss = (1 - LAMBDA) * ce + LAMBDA * TEMPERATURE**2 * kl
    out["sparse.logits"], out["sparse.ce"], out["sparse.kl"] = student.detach(), ce.detach(), kl.detach()
    for (name, f), g in zip(factors.items(), torch.autograd.grad(loss, list(factors.values()))):
        out["sparse.value." + name], out["sparse.grad." + name] = f.detach(), g

    for i, n in enumerate(attend.sum(1).tolist()):
        image = dict(pixel_values=pixels[i : i + 1]) if i < 2 else {}
        got = model.generate(input_ids=ids[i : i + 1, :n], **image, do_sample=False, max_new_tokens=8, pad_token_id=0)
        out[f"greedy.{i}"] = got[0, n:]

    out = {k: v.int() if v.dtype == torch.long else v for k, v in out.items()}
    versions = dict(torch=torch.__version__, transformers=transformers.__version__, safetensors=safetensors.__version__)
    settings = dict(rank=RANK, scale=SCALE, temperature=TEMPERATURE, **{"lambda": LAMBDA})
    save_file(
        {k: v.contiguous() for k, v in out.items()},
        os.path.join(HERE, "goldens.safetensors"),
        metadata={"versions": json.dumps(versions), "settings": json.dumps(settings)},
    )


main()
