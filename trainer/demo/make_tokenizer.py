"""Makes model/tokenizer.json of the demo: a LLaMA-style BPE tokenizer whose words are single tokens.

Run: python make_tokenizer.py  (tokenizers 0.21 or newer; the result does not depend on the machine)
"""
import json
import os

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

WORDS = """tshirt trouser pullover dress coat sandal shirt sneaker bag boot what is top bottom left right how many
zero one two three four of above yes no describe the picture""".split()
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<image>"]

here = os.path.dirname(os.path.abspath(__file__))
tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
tok.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always", split=True)
tok.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="always", split=True)
corpus = [" ".join(WORDS)] * 10
tok.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=1000, min_frequency=2, special_tokens=SPECIAL,
                        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz") + ["\u2581"], show_progress=False))
tok.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
for w in WORDS:
    ids = tok.encode(w, add_special_tokens=False).ids
    assert len(ids) == 1, (w, ids)
tok.save(os.path.join(here, "model", "tokenizer.json"), pretty=True)
print(tok.get_vocab_size(), "tokens")
with open(os.path.join(here, "model", "tokenizer_config.json"), "w") as f:
    json.dump({"add_bos_token": True, "add_eos_token": False, "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>",
               "unk_token": "<unk>", "image_token": "<image>", "model_max_length": 256,
               "tokenizer_class": "PreTrainedTokenizerFast"}, f, indent=2)
    f.write("\n")
