"""Makes the Parquet files beside this script with the Hugging Face datasets library.

Needs: pip install datasets==5.2.0 pillow pyarrow. Run here: python golden.py
"""
import datasets.arrow_dataset
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PIL

# A fingerprint pickles the table, which some versions of pyarrow and dill cannot.
datasets.arrow_dataset.generate_fingerprint = lambda *args: "0" * 16

rng = np.random.default_rng(3)
images = [PIL.fromarray(rng.integers(0, 256, (4 + i, 5, 3), dtype=np.uint8)) for i in range(5)]
talk = [[{"from": "human", "value": f"<image>\nwhat is {i}? é🙂"}, {"from": "gpt", "value": f"it is {i}"}]
        + ([{"from": "human", "value": "sure?"}, {"from": "gpt", "value": "yes"}] if i % 2 else []) for i in range(5)]
turns = List({"from": Value("string"), "value": Value("string")})

Dataset.from_dict({"id": [f"n{i}" for i in range(5)], "image": images, "conversations": talk},
                  features=Features({"id": Value("string"), "image": Image(), "conversations": turns})
                  ).to_parquet("conversations.parquet", batch_size=2)
Dataset.from_dict({"id": list(range(5)), "image": [images[0], None, images[2], None, images[4]],
                   "question": [f"q{i}" for i in range(5)], "answer": [f"a{i}" for i in range(5)],
                   "answers": [[f"a{i}", "x"][:i % 3] for i in range(5)], "other": [1.5] * 5},
                  features=Features({"id": Value("int64"), "image": Image(), "question": Value("string"),
                                     "answer": Value("string"), "answers": List(Value("string")), "other": Value("float64")})
                  ).to_parquet("questions.parquet")
Dataset.from_dict({"images": [images[:2], [], images[2:3]],
                   "messages": [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]] * 3},
                  features=Features({"images": List(Image()), "messages": List({"role": Value("string"), "content": Value("string")})})
                  ).to_parquet("messages.parquet")
pq.write_table(pa.table({"image": pa.array([b"\x89PNG broken", b""], pa.binary()), "question": ["q", None], "answer": ["a", "b"]}),
               "binary.parquet", compression="zstd", data_page_version="2.0")
pq.write_table(pa.table({"question": pa.array([], pa.string()), "answer": pa.array([], pa.string())}), "empty.parquet")
pq.write_table(pa.table({"image": [b"x"], "caption": ["c"]}), "columns.parquet")
pq.write_table(pa.table({"question": [1], "answer": ["a"]}), "types.parquet")
pq.write_table(pa.table({"conversations": [[{"from": "human", "value": "q"}, {"from": "dog", "value": "a"}]]}), "role.parquet")
image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
pq.write_table(pa.table({"image": pa.array([{"path": "a/1.png"}, {"path": "../1.png"}], image),
                         "question": ["q", "q"], "answer": ["a", "a"]}), "paths.parquet")
for i, im in enumerate(images):
    print(i, im.size, np.asarray(im)[0, 0])
