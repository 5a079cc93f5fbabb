"""Writes golden.safetensors with the Python library and golden.json with what is in it.

    python make_golden.py

Made with safetensors 0.8.0 and torch 2.15.0.
"""
import json
import os

import torch
from safetensors.torch import save_file

here = os.path.dirname(os.path.abspath(__file__))


def bits(values, raw, dtype):
    return torch.tensor(values, dtype=raw).view(dtype)


tensors = {
    "f64": torch.tensor([0.1, -1e300], dtype=torch.float64),
    "f32": torch.tensor([[1.0, -0.0, 3.5], [float("inf"), 1e-40, -2.25]]),
    "a.bf16": torch.tensor([[[1.0, 1.0078125], [-3.390625, 0.0]]], dtype=torch.bfloat16),
    "b.bf16": torch.tensor([65280.0], dtype=torch.bfloat16),
    "f16": torch.tensor([65504.0, 5.9604645e-08, -0.333251953125], dtype=torch.float16),
    "f8.e4m3": bits([0x38, 0x7E], torch.uint8, torch.float8_e4m3fn),
    "f8.e5m2": bits([0x3C, 0x7B], torch.uint8, torch.float8_e5m2),
    "i64": torch.tensor([-(2**63), 2**63 - 1], dtype=torch.int64),
    "i32": torch.tensor([-(2**31), 7], dtype=torch.int32),
    "i16": torch.tensor([-32768, 7], dtype=torch.int16),
    "i8": torch.tensor([-128, 7], dtype=torch.int8),
    "u8": torch.tensor([0, 255, 3], dtype=torch.uint8),
    "bool": torch.tensor([[True, False], [False, True]]),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 4),
    'quotes "\\ and <ü>': torch.tensor([1, 2, 3], dtype=torch.uint8),
}
save_file(tensors, os.path.join(here, "golden.safetensors"), metadata={"format": "pt"})
expected = {
    name: {
        "dtype": str(t.dtype).removeprefix("torch."),
        "shape": list(t.shape),
        "hex": t.reshape(-1).view(torch.uint8).numpy().tobytes().hex(),
    }
    for name, t in sorted(tensors.items())
}
with open(os.path.join(here, "golden.json"), "w") as f:
    json.dump(expected, f, indent=1, sort_keys=True)
    f.write("\n")
