"""Makes masks.json: magnitude and Wanda masks of a few small layers.

An independent computation in PyTorch that follows the published implementation
(Wanda, lib/prune.py: metric |W|·sqrt(scaler_row), scaler_row the mean over
samples of ||x_j||^2 over a sample's tokens; a stable sort; top-k in groups of m),
in float64. Differences that are ours are only of a kind that cannot change a
mask (mean over tokens instead of samples), but for one threshold per matrix:
there exactly int(numel·ratio) weights go, while "metric <= sorted[int(numel·ratio)]"
takes one more.

Run: python make_masks.py  (torch 2.x)
"""

import json
import pathlib

import torch

torch.manual_seed(20240404)
DTYPE = torch.float64


def row(metric, ratio):
    drop = torch.sort(metric, dim=-1, stable=True)[1][:, : int(metric.shape[1] * ratio)]
    return torch.ones_like(metric, dtype=torch.bool).scatter_(1, drop, False)


def matrix(metric, ratio):
    flat = metric.flatten()
    drop = torch.sort(flat, stable=True)[1][: int(flat.numel() * ratio)]
    keep = torch.ones_like(flat, dtype=torch.bool)
    keep[drop] = False
    return keep.reshape(metric.shape)


def groups(metric, n, m):
    keep = torch.ones_like(metric, dtype=torch.bool)
    for i in range(0, metric.shape[1], m):
        drop = torch.sort(metric[:, i : i + m], dim=-1, stable=True)[1][:, : m - n]
        keep.scatter_(1, i + drop, False)
    return keep


def main():
    layers = []
    for out, inputs in [(6, 16), (5, 72), (16, 8), (3, 136)]:
        weight = torch.randn(out, inputs, dtype=torch.float32)
        # Ties, zeros of both signs, and a dead input feature.
        weight[0, : inputs // 2] = 0.25
        weight[1, ::3] = 0.0
        weight[1, 1] = -0.0
        weight[2] = weight[2].abs().mean() * weight[2].sign()
        samples = []
        for tokens in (3, 1, 5):
            x = torch.randn(tokens, inputs, dtype=torch.float32) * torch.rand(inputs) * 4
            x[:, 3] = 0
            samples.append(x)
        scaler = torch.zeros(inputs, dtype=DTYPE)
        for x in samples:
            scaler += torch.norm(x.to(DTYPE), p=2, dim=0) ** 2 / len(samples)
        metrics = {"magnitude": weight.to(DTYPE).abs(), "wanda": weight.to(DTYPE).abs() * scaler.sqrt()}
        masks = []
        for method, metric in metrics.items():
            for ratio in (0.5, 0.7, 0.33):
                for name, rule in (("row", row), ("matrix", matrix)):
                    masks.append((method, f"unstructured:{ratio}", name, rule(metric, ratio)))
            for n, m in ((2, 4), (4, 8), (1, 4), (3, 8)):
                masks.append((method, f"{n}:{m}", "", groups(metric, n, m)))
        layers.append(
            {
                "out": out,
                "in": inputs,
                "weight": weight.flatten().tolist(),
                "samples": [x.flatten().tolist() for x in samples],
                "masks": [
                    {"method": a, "pattern": b, "granularity": c, "kept": "".join("1" if k else "0" for k in keep.flatten().tolist())}
                    for a, b, c, keep in masks
                ],
            }
        )
    path = pathlib.Path(__file__).with_name("masks.json")
    path.write_text(json.dumps({"layers": layers}, separators=(",", ":")) + "\n")


main()
