"""Makes the tokenizers and the golden ids beside this script.

Needs: pip install tokenizers==0.23.3. Run in this folder: python golden.py
Each NAME.json is a tiny tokenizer.json trained on the text below; golden.json
holds, per tokenizer, the ids that the Hugging Face library gives for TEXTS and
what it decodes them to.
"""
import json
import random

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)

CORPUS = [
    "The quick brown fox jumps over the lazy dog. The dog sleeps, the fox doesn't.",
    "USER: what is in this picture? ASSISTANT: a shirt, two coats and an ankle boot.",
    "How many sneakers are there? There are 3 sneakers and 12 bags in 2024.",
    "It's the user's image; they're sure we'll say I'd've known, I'm told.",
    "Größe, naïve café, Привет мир, 你好世界, emoji 🙂🙂 and symbols §±µ.",
    "def f(x):\n    return x  +  1\n\n\tprint('hello')   # comment",
] * 4

SPECIAL = ["<unk>", "<s>", "</s>"]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

TEXTS = [
    "", " ", "  ", "   a", "a", "Hello world", " Hello  world ", "The quick brown fox.",
    "USER: <image>\nWhat is in this picture? ASSISTANT: a shirt</s>", "<image>", "<image><image> x", "x <image> y",
    "  <image>  what", "<s>already</s>", "It's they're WE'LL I'D'VE 'S 's", "numbers 1 22 333 4444 1234567 ٣٤ ½ Ⅷ",
    "tabs\tand\nnewlines\r\n\r\n  mixed \n x", "trailing   ", "\n", "\n\n  \n", "a\u00a0b\u2003c\u3000d", "naïve café Größe",
    "e\u0301 combining", "Привет, мир!", "你好，世界", "🙂 🏳️‍🌈 family 👨‍👩‍👧", "unseen ∑ ⊙ 𝔘 \x00 \x7f", "snake_case and-dash §±µ",
    "<mask> a<mask>b  <mask>  c", "word wordword  word, sword word", " lead <mask>", "▁literal ▁▁ metaspace", "<0x41><0x0A>",
    "Ġ Ċ byte letters", "a <eot> b<eot>", "<eot>FoO foo  FoO", "ſ 'ſ K", "aaaaaaaaaaaaaaaaaaaaaaaa", "TITLE Title title İ ẞ Σας", "x" * 60 + "the the the",
]
random.seed(1)
for _ in range(60):
    TEXTS.append("".join(random.choice("abcdethe TTHE  \n\t'.,1290éß你🙂▁<>s/") for _ in range(random.randrange(1, 40))))
    TEXTS.append(" ".join(random.choice(["the", "dog", "<image>", "</s>", "it's", "12", "shirt", "", "<mask>", "word"])
                          for _ in range(random.randrange(1, 10))))


def llama():
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always", split=True)
    train(t, SPECIAL + [f"<0x{b:02X}>" for b in range(256)], 460)
    # LLaMA's own file has no pre-tokenizer (its merges never cross a ▁), and its
    # byte tokens belong to the vocabulary only.
    d = json.loads(t.to_str())
    d["pre_tokenizer"] = None
    d["added_tokens"] = [a for a in d["added_tokens"] if not a["content"].startswith("<0x")]
    t = Tokenizer.from_str(json.dumps(d))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    finish(t)
    return t


def metaspace():
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=False))
    t.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=True)
    t.decoder = decoders.Metaspace("▁", prepend_scheme="first", split=True)
    train(t, SPECIAL, 220)
    finish(t)
    return t


def bytelevel():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    train(t, ["<|endoftext|>"] + SPECIAL, 400)
    t.post_processor = processors.ByteLevel(trim_offsets=True)
    extra(t)
    return t


def smol():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                               pre_tokenizers.ByteLevel(add_prefix_space=True)])
    t.decoder = decoders.ByteLevel()
    train(t, SPECIAL, 400)
    finish(t)
    return t


def llama3():
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    train(t, SPECIAL, 400)
    finish(t, wrap=True)
    return t


def wordlevel():
    t = Tokenizer(models.WordLevel(unk_token="<unk>"))
    t.normalizer = normalizers.Lowercase()
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.train_from_iterator(CORPUS, trainers.WordLevelTrainer(special_tokens=SPECIAL, vocab_size=100, show_progress=False))
    finish(t)
    return t


def train(t, special, size):
    alphabet = pre_tokenizers.ByteLevel.alphabet() if "ByteLevel" in str(t.pre_tokenizer) else []
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(special_tokens=special, vocab_size=size, initial_alphabet=alphabet,
                                                      show_progress=False))


def extra(t):
    t.add_special_tokens([AddedToken("<image>", normalized=False), AddedToken("<pad>", normalized=False)])
    t.add_tokens([AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False),
                  AddedToken("<eot>", normalized=True, special=True), AddedToken("FoO", normalized=True),
                  AddedToken("word", single_word=True, normalized=True), AddedToken("wordword", normalized=True)])


def finish(t, wrap=False):
    bos = t.token_to_id("<s>")
    template = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", bos)])
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template]) if wrap else template
    extra(t)


golden = []
for make in (llama, metaspace, bytelevel, smol, llama3, wordlevel):
    t = make()
    t.save(f"{make.__name__}.json", pretty=False)
    cases = []
    for text in TEXTS:
        ids = t.encode(text, add_special_tokens=True).ids
        cases.append({
            "text": text, "ids": ids, "plain": t.encode(text, add_special_tokens=False).ids,
            "decoded": t.decode(ids, skip_special_tokens=False), "skipped": t.decode(ids, skip_special_tokens=True),
        })
    loose = []
    for _ in range(60):
        ids = [random.randrange(t.get_vocab_size() + 2) for _ in range(random.randrange(12))]
        loose.append({"ids": ids, "decoded": t.decode(ids, skip_special_tokens=False)})
    golden.append({"file": f"{make.__name__}.json", "size": t.get_vocab_size(), "cases": cases, "loose": loose})
with open("golden.json", "w") as f:
    json.dump(golden, f, ensure_ascii=True)
