"""Makes the images in decoded/ and, beside each, the pixels that Pillow gives: NAME.png.

Needs: pip install pillow==13.0.0 numpy (libjpeg-turbo 3.2.0, libwebp 1.6.0). Run here: python decoded.py
Transparent images are put on white, as transformers does.
"""
import io
import pathlib
import struct

import numpy as np
from PIL import Image, ImageDraw

random = np.random.default_rng(11)
folder = pathlib.Path("decoded")
folder.mkdir(exist_ok=True)
for old in folder.iterdir():
    old.unlink()


def scene(width, height, noise=10):
    """Smooth colour, saturated edges and some noise."""
    y, x = np.mgrid[0:height, 0:width]
    a = np.stack([127 + 125 * np.sin(x / 6.0 + 2 * c) * np.cos(y / (5.0 + c)) for c in range(3)], -1)
    im = Image.fromarray(np.clip(a + random.normal(0, noise, a.shape), 0, 255).astype(np.uint8))
    d = ImageDraw.Draw(im)
    d.rectangle([width // 4, height // 3, width // 2, height // 2], fill=(255, 0, 20))
    d.line([width // 2, 0, width - 1, height - 1], fill=(0, 30, 255))
    return im


def write(name, raw):
    (folder / name).write_bytes(raw)
    im = Image.open(folder / name)
    if im.mode == "RGBA":
        im = Image.alpha_composite(Image.new("RGBA", im.size, (255, 255, 255, 255)), im)
    im.convert("RGB").save(folder / (name + ".png"), optimize=True)


def encode(im, kind="JPEG", **options):
    out = io.BytesIO()
    im.save(out, kind, **options)
    return out.getvalue()


def segments(raw):
    """Yields (marker, segment with its marker and length, entropy-coded data)."""
    at = 2
    while raw[at + 1] != 0xD9:
        end = at + 2 + struct.unpack(">H", raw[at + 2 : at + 4])[0]
        data = end
        while raw[at + 1] == 0xDA and not (raw[data] == 0xFF and raw[data + 1] != 0 and not 0xD0 <= raw[data + 1] <= 0xD7):
            data += 1
        yield raw[at + 1], raw[at:end], raw[end:data]
        at = data


def sampled(raw, *sampling):
    """Changes the sampling factors of the frame. The image is scrambled but valid where the blocks add up."""
    out = b"\xff\xd8"
    for marker, segment, data in segments(raw):
        if 0xC0 <= marker <= 0xC2:
            segment = bytearray(segment)
            for i, s in enumerate(sampling):
                segment[11 + 3 * i] = s
        out += segment + data
    return out + b"\xff\xd9"


def separate(planes, width, height, *sampling, **options):
    """Joins grey images to a file with scans of their own, whatever their sampling."""
    out = b"\xff\xd8"
    for i, plane in enumerate(planes):
        for marker, segment, data in segments(encode(plane, **options)):
            if 0xC0 <= marker <= 0xC2:
                if i:
                    continue
                frame = b"".join(bytes([j + 1, s, 0]) for j, s in enumerate(sampling))
                segment = segment[:2] + struct.pack(">HBHHB", 8 + len(frame), 8, height, width, len(sampling)) + frame
            if marker == 0xDA:
                segment = segment[:5] + bytes([i + 1]) + segment[6:]
            out += segment + data
    return out + b"\xff\xd9"


def planes(im, *sampling):
    """The planes of an image for separate."""
    h, v = max(s >> 4 for s in sampling), max(s & 15 for s in sampling)
    size = [(-(-im.width * (s >> 4) // h), -(-im.height * (s & 15) // v)) for s in sampling]
    return [p.resize(s) for p, s in zip(im.convert("YCbCr").split(), size)]


odd = scene(29, 23)
for quality in 50, 75, 90, 95:
    for name, sampling in ("444", 0), ("422", 1), ("420", 2):
        write(f"{name}-q{quality}.jpg", encode(odd, quality=quality, subsampling=sampling))
for name, sampling in ("444", 0), ("422", 1), ("420", 2):
    write(f"{name}-progressive.jpg", encode(odd, quality=85, subsampling=sampling, progressive=True))
write("420-even.jpg", encode(scene(32, 48), quality=80, subsampling=2, optimize=True))
write("420-q1.jpg", encode(odd, quality=1, subsampling=2))
write("444-q100.jpg", encode(odd, quality=100, subsampling=0))
write("444-noise.jpg", encode(scene(24, 24, 200), quality=40, subsampling=0))
write("420-restarts.jpg", encode(odd, quality=80, subsampling=2, restart_marker_blocks=2))
write("progressive-restarts.jpg", encode(odd, quality=80, subsampling=2, progressive=True, restart_marker_blocks=1))
write("wide-table.jpg", encode(odd, qtables=[[7 + 9 * i for i in range(64)]] * 2, subsampling=0))
for width, height in (1, 1), (2, 9), (3, 9), (4, 5), (5, 1), (9, 2), (17, 16):
    for name, sampling in ("422", 1), ("420", 2):
        write(f"{name}-{width}x{height}.jpg", encode(scene(width, height), quality=90, subsampling=sampling))

# 4:4:0 and others, which Pillow does not write.
write("440-interleaved.jpg", sampled(encode(scene(37, 35), quality=85, subsampling=1), 0x12))
write("411-interleaved.jpg", sampled(encode(scene(50, 27), quality=85, subsampling=2), 0x41))
for name, sampling in {
    "440": (0x12, 0x11, 0x11),
    "411": (0x41, 0x11, 0x11),
    "410": (0x42, 0x11, 0x11),
    "441": (0x14, 0x11, 0x11),
    "311": (0x31, 0x11, 0x11),
    "mixed": (0x22, 0x12, 0x21),
    "chroma": (0x11, 0x22, 0x12),
    "420": (0x22, 0x11, 0x11),
}.items():
    for quality in (60, 90) if name == "440" else (85,):
        write(f"{name}-separate-q{quality}.jpg", separate(planes(odd, *sampling), *odd.size, *sampling, quality=quality))
for width, height in (1, 1), (9, 2), (2, 9):
    s = (0x12, 0x11, 0x11)
    write(f"440-{width}x{height}.jpg", separate(planes(scene(width, height), *s), width, height, *s, quality=90))
s = (0x12, 0x11, 0x11)
write("440-progressive.jpg", separate(planes(odd, *s), *odd.size, *s, quality=85, progressive=True))

grey = odd.convert("L")
write("grey-q50.jpg", encode(grey, quality=50))
write("grey-q95.jpg", encode(grey, quality=95))
write("grey-progressive.jpg", encode(grey, quality=80, progressive=True))
write("grey-2x2.jpg", sampled(encode(grey, quality=80), 0x22))
write("rgb.jpg", encode(odd, quality=85, keep_rgb=True))
cmyk = Image.merge("CMYK", [*odd.split(), scene(*odd.size).getchannel(1)])
raw = encode(cmyk, quality=85)
write("cmyk.jpg", raw)
adobe = raw.index(b"Adobe")
assert raw[adobe + 11] == 0
write("ycck.jpg", raw[: adobe + 11] + b"\x02" + raw[adobe + 12 :])
write("cmyk-unmarked.jpg", raw[: adobe - 4] + raw[adobe + 12 :])
exif = Image.Exif()
exif[0x0112] = 6  # turned by a right angle, which convert does not undo
write("orientation.jpg", encode(odd, quality=85, exif=exif))

for quality in 50, 75, 95:
    write(f"lossy-q{quality}.webp", encode(odd, "WEBP", quality=quality))
write("lossy-even.webp", encode(scene(48, 34), "WEBP", quality=80, method=6))
write("lossy-q5.webp", encode(scene(40, 40), "WEBP", quality=5, method=0))
for width, height in (1, 1), (2, 3), (3, 2), (17, 1), (1, 17):
    write(f"lossy-{width}x{height}.webp", encode(scene(width, height), "WEBP", quality=90))
rgba = Image.merge("RGBA", [*odd.split(), scene(*odd.size).getchannel(0)])
write("lossy-alpha.webp", encode(rgba, "WEBP", quality=80))
write("lossy-alpha-q20.webp", encode(rgba, "WEBP", quality=80, alpha_quality=20))
write("lossless.webp", encode(odd, "WEBP", lossless=True))
write("lossless-alpha.webp", encode(rgba, "WEBP", lossless=True))
write("lossless-exact.webp", encode(rgba, "WEBP", lossless=True, exact=True, exif=exif))
write("lossless-palette.webp", encode(odd.quantize(7).convert("RGB"), "WEBP", lossless=True, method=6))
write("lossless-grey.webp", encode(grey.convert("RGB"), "WEBP", lossless=True))
write("orientation.webp", encode(odd, "WEBP", quality=80, exif=exif, icc_profile=b"none"))
