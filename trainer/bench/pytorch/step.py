"""One repair step after the other in PyTorch, by the published form of SparseLoRA.

Usage: step.py TASK_DIR THREADS. Reads what bench.Prepare wrote and speaks the
protocol of bench.Solve: a line when it is ready, then a line for every line of
stdin. Every masked layer builds W_eff = (W + s * (B @ A)) * mask in forward, under
autograd; attention is F.scaled_dot_product_attention; the teacher runs under
no_grad; logits are float32 of every position.
"""

import ctypes
import gc
import json
import math
import sys
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn


def memory(field):
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0


def forget_peak():
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")
    except OSError:
        pass


class SparseLoRALinear(nn.Module):
    """A frozen weight, a mask and an adapter; without a mask, plain LoRA."""

    def __init__(self, weight, bias, mask, a, b, scale):
        super().__init__()
        self.weight, self.bias, self.scale = weight, bias, scale
        self.mask = None if mask is None else mask.to(weight.dtype)
        self.lora_A, self.lora_B = nn.Parameter(a), nn.Parameter(b)

    def forward(self, x, dense):
        if dense:
            return F.linear(x, self.weight, self.bias)
        if self.mask is None:
            return F.linear(x, self.weight, self.bias) + self.scale * F.linear(F.linear(x, self.lora_A), self.lora_B)
        effective = (self.weight + self.scale * (self.lora_B @ self.lora_A)) * self.mask
        return F.linear(x, effective, self.bias)


ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "silu": F.silu,
    "relu": F.relu,
}


class Llava(nn.Module):
    def __init__(self, config, weights, masks, adapters, scale):
        super().__init__()
        self.config, self.w, self.layers = config, weights, nn.ModuleDict()
        for name in sorted(adapters):
            if not name.endswith(".lora_A.weight"):
                continue
            module = name.removesuffix(".lora_A.weight")
            self.layers[module.replace(".", "/")] = SparseLoRALinear(
                weights[module + ".weight"], weights.get(module + ".bias"), masks.get(module + ".weight"),
                adapters[name], adapters[module + ".lora_B.weight"], scale)

    def linear(self, module, x, dense):
        return self.layers[module.replace(".", "/")](x, dense)

    def norm(self, name, x, eps):
        return F.layer_norm(x, x.shape[-1:], self.w[name + ".weight"], self.w[name + ".bias"], eps)

    def vision(self, pixels, dense):
        c, p = self.config["vision_config"], "model.vision_tower."
        heads, eps, act = c["num_attention_heads"], c["layer_norm_eps"], ACTIVATIONS[c["hidden_act"]]
        patches = F.conv2d(pixels, self.w[p + "embeddings.patch_embedding.weight"], stride=c["patch_size"]).flatten(2).transpose(1, 2)
        n, t, width = patches.shape
        x = torch.cat([self.w[p + "embeddings.class_embedding"].expand(n, 1, width), patches], 1)
        x = self.norm(p + "pre_layrnorm", x + self.w[p + "embeddings.position_embedding.weight"], eps)
        layer = self.config.get("vision_feature_layer", -2)
        for i in range(layer if layer >= 0 else c["num_hidden_layers"] + 1 + layer):
            b = f"{p}encoder.layers.{i}."
            h = self.norm(b + "layer_norm1", x, eps)
            q, k, v = (self.linear(f"{b}self_attn.{s}_proj", h, dense).view(n, t + 1, heads, -1).transpose(1, 2) for s in "qkv")
            o = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t + 1, width)
            x = x + self.linear(b + "self_attn.out_proj", o, dense)
            h = act(self.linear(b + "mlp.fc1", self.norm(b + "layer_norm2", x, eps), dense))
            x = x + self.linear(b + "mlp.fc2", h, dense)
        return x if self.config["vision_feature_select_strategy"] == "full" else x[:, 1:]

    def language(self, batch, features, dense):
        c, p = self.config["text_config"], "model.language_model."
        heads, kv, eps, act = c["num_attention_heads"], c["num_key_value_heads"], c["rms_norm_eps"], ACTIVATIONS[c["hidden_act"]]
        width = c.get("head_dim", c["hidden_size"] // heads)
        h = ACTIVATIONS[self.config["projector_hidden_act"]](self.linear("model.multi_modal_projector.linear_1", features, dense))
        h = self.linear("model.multi_modal_projector.linear_2", h, dense).flatten(0, 1)
        n, t = batch["tokens"].shape
        x = F.embedding(batch["tokens"].flatten(), self.w[p + "embed_tokens.weight"]).index_put((batch["image_rows"],), h).view(n, t, -1)
        frequency = 1.0 / c["rope_theta"] ** (torch.arange(0, width, 2, dtype=torch.float32) / width)
        angle = batch["positions"][:, None, :, None].float() * frequency
        cos, sin = torch.cat([angle, angle], -1).cos(), torch.cat([angle, angle], -1).sin()

        def rotate(y):
            a, b = y.chunk(2, -1)
            return y * cos + torch.cat([-b, a], -1) * sin

        for i in range(c["num_hidden_layers"]):
            b = f"{p}layers.{i}."
            h = F.rms_norm(x, x.shape[-1:], self.w[b + "input_layernorm.weight"], eps)
            q = self.linear(b + "self_attn.q_proj", h, dense).view(n, t, heads, width).transpose(1, 2)
            k = self.linear(b + "self_attn.k_proj", h, dense).view(n, t, kv, width).transpose(1, 2)
            v = self.linear(b + "self_attn.v_proj", h, dense).view(n, t, kv, width).transpose(1, 2)
            # Answers stand before the padding on the right: causal is enough.
            o = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True, enable_gqa=kv != heads)
            x = x + self.linear(b + "self_attn.o_proj", o.transpose(1, 2).reshape(n, t, -1), dense)
            h = F.rms_norm(x, x.shape[-1:], self.w[b + "post_attention_layernorm.weight"], eps)
            h = act(self.linear(b + "mlp.gate_proj", h, dense)) * self.linear(b + "mlp.up_proj", h, dense)
            x = x + self.linear(b + "mlp.down_proj", h, dense)
        x = F.rms_norm(x, x.shape[-1:], self.w[p + "norm.weight"], eps)
        tied = self.config.get("tie_word_embeddings") or c.get("tie_word_embeddings")
        return F.linear(x, self.w[p + "embed_tokens.weight"] if tied else self.w["lm_head.weight"])

    def forward(self, batch, dense):
        return self.language(batch, self.vision(batch["pixels"], dense), dense)


def touch():
    """A tiny step with all that the real one calls, so that the libraries are in
    memory before it is measured."""
    x = torch.ones(1, 1, 16, 16, requires_grad=True)
    y = F.layer_norm(F.conv2d(x, torch.ones(16, 1, 4, 4), stride=4).flatten(2), (16,))
    y = F.rms_norm(F.scaled_dot_product_attention(y[None], y[None], y[None], is_causal=True)[0], (16,))
    y = F.gelu(F.linear(F.silu(y), torch.ones(16, 16))) * y.sigmoid()
    loss = F.cross_entropy(y[0], torch.zeros(16, dtype=torch.long))
    (loss + F.kl_div(F.log_softmax(y, -1), F.softmax(y, -1), reduction="sum")).backward()
    torch.nn.utils.clip_grad_norm_([x], 1)
    torch.optim.AdamW([x]).step()


def loss_of(model, batch, task, tokens):
    """The microbatch's share of the step's loss, as package objective defines it."""
    with torch.no_grad():
        teacher = model(batch, dense=True)
    student = model(batch, dense=False)
    rows = batch["labels"].flatten() >= 0
    student, teacher = student.flatten(0, 1)[rows].float(), teacher.flatten(0, 1)[rows].float()
    lam, temperature = task["lambda"], task["temperature"]
    ce = F.cross_entropy(student, batch["labels"].flatten()[rows].long(), reduction="sum")
    kl = F.kl_div(F.log_softmax(student / temperature, -1), F.softmax(teacher / temperature, -1), reduction="sum")
    return ((1 - lam) * ce + lam * temperature**2 * kl) / tokens


def main():
    directory, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    touch()
    baseline = memory("VmRSS")
    with open(f"{directory}/task.json") as f:
        task = json.load(f)
    with open(f"{directory}/model-fp32/config.json") as f:
        config = json.load(f)
    weights = load_file(f"{directory}/model-fp32/model.safetensors")
    masks, adapters = load_file(f"{directory}/masks.safetensors"), load_file(f"{directory}/adapter.safetensors")
    stored = load_file(f"{directory}/batches.safetensors")
    side, batches = config["vision_config"]["image_size"], []
    for m in range(task["microbatches"]):
        b = {k.split(".")[1]: v for k, v in stored.items() if k.split(".")[0] == str(m)}
        b["pixels"] = b["pixels"].view(-1, config["vision_config"]["num_channels"], side, side)
        batches.append(b)
    tokens = sum(int((b["labels"] >= 0).sum()) for b in batches)
    model = Llava(config, weights, masks, adapters, task["alpha"] / task["rank"])
    del masks, adapters, stored
    trained = list(model.parameters())
    optimiser = torch.optim.AdamW(trained, lr=task["learning_rate"], betas=(0.9, 0.999), eps=1e-8, weight_decay=0)
    forget_peak()
    kind = f"pytorch-{torch.__version__}-{torch.backends.cpu.get_cpu_capability()}"
    print(json.dumps({"kind": kind, "lanes": 1, "baseline_bytes": baseline, "loaded_bytes": memory("VmRSS")}), flush=True)
    for _ in sys.stdin:
        start, used, total = time.perf_counter(), time.process_time(), 0.0
        optimiser.zero_grad()
        for b in batches:
            loss = loss_of(model, b, task, tokens)
            loss.backward()
            total += loss.item()
        if task["clip_norm"] > 0:
            torch.nn.utils.clip_grad_norm_(trained, task["clip_norm"])
        optimiser.step()
        seconds, used = time.perf_counter() - start, time.process_time() - used
        if not math.isfinite(total):
            sys.exit(f"loss {total}")
        print(json.dumps({"seconds": seconds, "processor_seconds": used, "loss": total, "peak_bytes": memory("VmHWM")}), flush=True)


if __name__ == "__main__":
    main()
