"""PyTorch's side of `ressa bench gpu`.

Usage: gpu.py DEVICE, as cuda:0 or cpu. Says what it is in a line, then answers every
line of stdin with one; both are JSON. What fails is answered by {"error": ...} and
ends nothing else. Cases are those of kernels/cuda/bench. A layer is the published form
of SparseLoRA: W_eff = (W + s * (B @ A)) * mask, materialised, then F.linear, with
autograd through both.
"""

import gc
import json
import math
import sys
import time

import torch
import torch.nn.functional as F

SCALE = 2.0  # of the adapter
LOSS_WEIGHT = 0.5  # of the distillation


def layer(x, weight, mask, a, b):
    return F.linear(x, (weight + SCALE * (b @ a)) * mask)


def attention(q, k, v, causal):
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal)


def loss(logits, teacher, labels):
    ce = F.cross_entropy(logits, labels)
    kl = F.kl_div(F.log_softmax(logits, -1), F.softmax(teacher, -1), reduction="batchmean")
    return (1 - LOSS_WEIGHT) * ce + LOSS_WEIGHT * kl


class Subject:
    """A case with its operands: random ones, or those that are given by name."""

    def __init__(self, case, device, dtype, compiled, given=None):
        self.case, self.device, self.dtype, self.given = case, device, dtype, given
        suite, tokens = case["suite"], case["tokens"]
        if suite == "layer":
            out, width, rank = case["out"], case["in"], case["rank"]
            x = self.values("x", (tokens, width), grad=True)
            weight = self.values("W", (out, width), 1 / math.sqrt(width))
            mask = self.values("mask", (out, width))
            if given is None:
                mask = (mask > 0).to(dtype)
            a = self.values("A", (rank, width), 1 / math.sqrt(width), grad=True)
            b = self.values("B", (out, rank), 0.1, grad=True)
            self.f, self.operands, self.seed = layer, (x, weight, mask, a, b), self.values("dy", (tokens, out))
            self.results = {"dx": x, "dA": a, "dB": b}
        elif suite == "attention":
            # As (T, heads·D) in memory, which is how the layers before it write them.
            def heads(name, grad):
                t = self.values(name, (tokens, case["heads"] * case["head_dim"]), grad=grad)
                return t, t.view(1, tokens, case["heads"], case["head_dim"]).transpose(1, 2)

            (q, qh), (k, kh), (v, vh), (_, seed) = heads("q", True), heads("k", True), heads("v", True), heads("do", False)
            self.f, self.operands, self.seed = attention, (qh, kh, vh, case.get("causal", False)), seed
            self.results = {"dq": q, "dk": k, "dv": v}
        elif suite == "loss":
            self.dtype = torch.float32
            logits = self.values("logits", (tokens, case["vocabulary"]), 4, grad=True)
            teacher = self.values("teacher", (tokens, case["vocabulary"]), 4)
            labels = self.values("labels", (tokens,), 0)
            if given is None:
                labels = torch.randint(case["vocabulary"], (tokens,), device=device)
            self.f, self.operands, self.seed = loss, (logits, teacher, labels.long()), None
            self.results = {"dlogits": logits}
        else:
            raise ValueError(f"suite {suite!r} is not known here")
        if compiled:
            self.f = torch.compile(self.f, dynamic=False)
        self.repeat = 1

    def values(self, name, shape, size=1.0, grad=False):
        if self.given is None:
            t = torch.empty(shape, device=self.device, dtype=self.dtype).uniform_(-size, size)
        else:
            t = torch.tensor(self.given[name], dtype=torch.float32, device=self.device).view(shape).to(self.dtype)
        return t.requires_grad_(grad)

    def forward(self):
        return self.f(*self.operands)

    def backward(self, y):
        y.backward(self.seed)

    def forget(self):
        for t in self.results.values():
            t.grad = None

    def turn(self):
        """Mean seconds of forward, backward and both."""
        marks = []
        for _ in range(self.repeat):
            self.forget()
            start = mark(self.device)
            y = self.forward()
            middle = mark(self.device)
            self.backward(y)
            marks.append((start, middle, mark(self.device)))
            del y
        wait(self.device)
        forward = sum(elapsed(a, b) for a, b, _ in marks) / self.repeat
        backward = sum(elapsed(b, c) for _, b, c in marks) / self.repeat
        return [forward, backward, forward + backward]

    def outputs(self):
        self.forget()
        y = self.forward()
        self.backward(y)
        out = {name: t.grad for name, t in self.results.items()}
        if self.case["suite"] == "layer":
            out["y"] = y
        if self.case["suite"] == "attention":
            out["o"] = y.transpose(1, 2)
        return {name: t.detach().float().flatten().tolist() for name, t in out.items()}


def mark(device):
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def elapsed(a, b):
    return b - a if isinstance(a, float) else a.elapsed_time(b) / 1e3


def wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def allocated(device):
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def open_subject(request, device):
    """The peak is of steps after everything is compiled, above what others hold."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    torch.compiler.reset()
    before, start = allocated(device), time.perf_counter()
    s = Subject(request["case"], device, torch.bfloat16, request["compiled"])
    s.turn()
    prepared = time.perf_counter() - start
    if device.type == "cuda":
        s.forget()
        torch.cuda.reset_peak_memory_stats(device)
    once = s.turn()[-1]
    s.repeat = max(1, min(300, math.ceil(request["least"] / max(once, 1e-6))))
    peak = torch.cuda.max_memory_allocated(device) - before if device.type == "cuda" else 0
    return s, {"peak": peak, "prepared": prepared}


def peaks(side, numbers, least, device):
    """The best rates of a bfloat16 product and of a copy."""
    a = torch.empty((side, side), device=device, dtype=torch.bfloat16).uniform_(-1, 1)
    source = torch.zeros(numbers, device=device, dtype=torch.float32)
    target = torch.empty_like(source)

    def best(run):
        found, repeat = math.inf, 1
        for _ in range(4):
            start = mark(device)
            for _ in range(repeat):
                run()
            end = mark(device)
            wait(device)
            found = min(found, elapsed(start, end) / repeat)
            repeat = max(1, min(300, int(least / max(found, 1e-6))))
        return found

    with torch.no_grad():
        return {"flops": 2 * side**3 / best(lambda: a @ a.T), "bytes": 8 * numbers / best(lambda: target.copy_(source))}


def answer(request, device, subjects):
    do = request["do"]
    if do == "open":
        subjects[request["name"]], reply = open_subject(request, device)
        return reply
    if do == "turn":
        return {"seconds": subjects[request["name"]].turn()}
    if do == "close":
        subjects.clear()
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        return {}
    if do == "peaks":
        return peaks(request["side"], request["numbers"], request["least"], device)
    if do == "compute":
        return {"outputs": Subject(request["case"], device, torch.float32, False, request["inputs"]).outputs()}
    raise ValueError(f"{do!r} is not known here")


def main():
    device = torch.device(sys.argv[1])
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.zeros(1, device=device)
    torch.manual_seed(1)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    print(json.dumps({"kind": f"PyTorch {torch.__version__}", "device": name}), flush=True)
    subjects = {}
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line), device, subjects)
        except Exception as e:  # out of memory, a compiler that is missing, …
            reply = {"error": f"{type(e).__name__}: {e}"[:500]}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
