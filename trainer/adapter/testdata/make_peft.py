"""Makes peft/: an adapter that PEFT itself wrote, with a rank of its own for one
module. Every factor holds 0, 1, 2, … in steps of 1/8, so that a reader can tell
rows from columns.

With a folder as argument, loads an adapter that we wrote for the same modules
into PEFT instead and prints what it makes of it.

Run: python make_peft.py [FOLDER]  (torch 2.x, peft 0.21)
"""

import pathlib
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model


class Modules(torch.nn.Module):
    def __init__(self, **children):
        super().__init__()
        for name, child in children.items():
            setattr(self, name, child)


def linear(out, inputs):
    return torch.nn.Linear(inputs, out, bias=False)


def tiny():
    layer = Modules(mlp=Modules(up_proj=linear(10, 8), down_proj=linear(8, 70)))
    return Modules(
        model=Modules(
            multi_modal_projector=Modules(linear_1=linear(8, 6)),
            language_model=Modules(layers=torch.nn.ModuleList([layer])),
        )
    )


if len(sys.argv) > 1:
    base = tiny()
    tuned = PeftModel.from_pretrained(base, sys.argv[1])
    for name, module in tuned.named_modules():
        if hasattr(module, "lora_A"):
            a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
            print(name, tuple(a.shape), tuple(b.shape), "scale", module.scaling["default"], "sums", a.double().sum().item(), b.double().sum().item())
else:
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["linear_1", "up_proj", "down_proj"],
        rank_pattern={"up_proj": 2},
        alpha_pattern={"up_proj": 3},
    )
    tuned = get_peft_model(tiny(), config)
    with torch.no_grad():
        for name, p in tuned.named_parameters():
            if "lora_" in name:
                p.copy_(torch.arange(p.numel(), dtype=p.dtype).reshape(p.shape) / 8)
    folder = pathlib.Path(__file__).with_name("peft")
    tuned.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
