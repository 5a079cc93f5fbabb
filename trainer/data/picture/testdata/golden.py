"""Makes the images beside this script and what transformers turns them into.

Needs: pip install transformers==5.23.0 pillow==13.0.0 numpy. Run here: python golden.py
For each case in golden.json, OUTPUT.png holds the grey levels after RGB, resize
and crop; `normalised` holds some values of the full pipeline, [channel, y, x, value].
"""
import json

import numpy as np
from PIL import Image, ImageDraw
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

random = np.random.default_rng(5)


def scene(width, height):
    """Smooth colour, some edges and a little noise: what a photo has."""
    y, x = np.mgrid[0:height, 0:width]
    a = np.stack([127 + 120 * np.sin(x / 7.0 + c) * np.cos(y / (5.0 + c)) for c in range(3)], -1)
    im = Image.fromarray(np.clip(a + random.normal(0, 6, a.shape), 0, 255).astype(np.uint8))
    d = ImageDraw.Draw(im)
    d.rectangle([width // 4, height // 3, width // 2, height // 2], fill=(250, 20, 40))
    if height > 4:
        d.ellipse([width // 2, height // 2, width - 2, height - 2], outline=(10, 240, 250), width=2)
    return im


sources = {}


def save(name, im, **kw):
    im.save(name, **kw)
    sources[name] = im.size


save("rgb.png", scene(61, 43))
save("tall.png", scene(37, 90))
save("small.png", scene(9, 7))
save("same.png", scene(56, 56))
save("line.png", scene(64, 1))
save("grey.png", scene(50, 35).convert("L"))
save("greyalpha.png", Image.merge("LA", [scene(40, 31).convert("L"), scene(40, 31).getchannel(1)]))
save("rgba.png", Image.merge("RGBA", [*scene(45, 52).split(), scene(45, 52).getchannel(0)]))
save("palette.png", scene(48, 33).quantize(40))
p = scene(33, 48).quantize(30)
save("palettealpha.png", p, transparency=bytes([i * 8 % 256 for i in range(30)]))
save("mono.png", scene(40, 40).convert("1"))
save("colourkey.png", Image.merge("RGB", [scene(30, 30).getchannel(0).point(lambda v: v // 64 * 64)] * 3), transparency=(64, 64, 64))
save("j444.jpg", scene(61, 43), quality=92, subsampling=0)
save("j422.jpg", scene(61, 43), quality=90, subsampling=1)
save("j420.jpg", scene(61, 43), quality=85, subsampling=2)
save("j420even.jpg", scene(64, 48), quality=75, subsampling=2)
save("progressive.jpg", scene(50, 70), quality=80, subsampling=2, progressive=True)
save("jgrey.jpg", scene(40, 52).convert("L"), quality=80)
save("narrow.jpg", scene(4, 20), quality=80, subsampling=2)

configs = {
    "clip24": dict(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}, resample=3),
    "clip56": dict(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}, resample=3),
    "bilinear31": dict(size={"height": 31, "width": 29}, crop_size={"height": 31, "width": 29}, resample=2, do_center_crop=False),
    "up2": dict(size={"shortest_edge": 80}, crop_size={"height": 77, "width": 79}, resample=2),
    "cropped": dict(size={"shortest_edge": 20}, crop_size={"height": 25, "width": 15}, resample=3),
    "uncut": dict(do_resize=False, crop_size={"height": 33, "width": 48}),
}
cases = []
for cname, c in configs.items():
    for sname in sources:
        if sname == "line.png" and cname not in ("bilinear31", "uncut"):
            continue
        if cname in ("up2", "cropped") and sname not in ("rgb.png", "small.png", "tall.png", "grey.png", "j420.jpg"):
            continue
        processor = CLIPImageProcessorPil(**c)
        im = Image.open(sname)
        levels = processor(im, do_rescale=False, do_normalize=False)["pixel_values"][0]
        full = processor(im)["pixel_values"][0]
        assert levels.dtype == np.uint8 and full.dtype == np.float32, (levels.dtype, full.dtype)
        out = f"out/{cname}-{sname.replace('.', '_')}.png"
        Image.fromarray(np.moveaxis(levels, 0, -1)).save(out)
        h, w = full.shape[1:]
        picks = [(int(random.integers(3)), int(random.integers(h)), int(random.integers(w))) for _ in range(12)]
        cases.append({"config": processor.to_dict() | {"image_processor_type": "CLIPImageProcessor"}, "name": cname, "source": sname,
                      "output": out, "normalised": [[*p, float(full[p])] for p in picks]})
with open("golden.json", "w") as f:
    json.dump(cases, f)
