"""Writes what the references make of each text: Hugging Face's tokenizers with the models' own
patterns, SentencePiece, and llama.cpp, whose differences are shown."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import llama_cpp
import sentencepiece
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.pre_tokenizers import ByteLevel, Digits, Metaspace, Punctuation, Sequence, Split

import texts as made
import vocabularies as v

LETTERS = "[^\\r\\n\\p{L}\\p{N}]?"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
QWEN35 = QWEN2.replace(r"\p{L}+", r"[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
ENDINGS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = rf"{LETTERS}{UPPER}*{LOWER}+|{LETTERS}{UPPER}+{LOWER}*|\p{{N}}{REST}"
GPT4O = rf"{LETTERS}{UPPER}*{LOWER}+{ENDINGS}|{LETTERS}{UPPER}+{LOWER}*{ENDINGS}|\p{{N}}{{1,3}}{REST}"
SEED = QWEN2.replace(r"[^\s\p{L}\p{N}]+[\r\n]*", r"[^\s\p{L}\p{N}\r\n]+")
# DeepSeek LLM's letters, by name: its file lists the ranges (letters with a case, of Unicode 11, but
# those of mathematics).
CASED = "".join(
    f"\\x{{{a:x}}}-\\x{{{b:x}}}" if a != b else f"\\x{{{a:x}}}" for a, b in json.loads(
        (Path(__file__).parent / "deepseek_letters.json").read_text()))
HAN = r"[\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+"
PUNCTUATION = r"\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]+"
DEEPSEEK_LLM = [r"[\r\n]", rf"\s?[A-Za-z{CASED}]+", PUNCTUATION, r"\s+$", HAN]
DEEPSEEK_CODER = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN]
DEEPSEEK_V3 = [
    r"\p{N}{1,3}", r"[\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]

BYTES = ByteLevel(add_prefix_space=False, use_regex=False)
GPT2 = ByteLevel(add_prefix_space=False, use_regex=True)


def splits(*patterns: str, then=(BYTES,)) -> Sequence:
    return Sequence([*(Split(Regex(p), behavior="isolated") for p in patterns), *then])


NFC = normalizers.NFC()
# Name, pre-tokenizer, normalizer, whether whole words come before merges.
PRE = [
    ("gpt-2", GPT2, None, False),
    ("smollm", Sequence([Digits(individual_digits=True), GPT2]), None, False),
    ("command-r", Sequence([Digits(individual_digits=True), GPT2]), NFC, False),
    ("llama-bpe", splits(LLAMA3), None, True),
    ("dbrx", splits(LLAMA3), None, False),
    ("qwen2", splits(QWEN2), NFC, False),
    ("qwen35", splits(QWEN35), NFC, False),
    ("stablelm2", splits(QWEN2), None, False),
    ("tekken", splits(TEKKEN), None, True),
    ("gpt-4o", splits(GPT4O), None, False),
    ("deepseek-llm", splits(*DEEPSEEK_LLM, then=(Digits(individual_digits=True), BYTES)), None, False),
    ("deepseek-coder", splits(*DEEPSEEK_CODER, then=(Digits(individual_digits=True), BYTES)), None, False),
    ("deepseek-v3", splits(*DEEPSEEK_V3), None, False),
    ("seed-coder", splits(SEED), None, False),
    ("falcon", Sequence([Punctuation(behavior="contiguous"), GPT2, Digits(individual_digits=False),
                         Split(Regex("[0-9][0-9][0-9]"), behavior="isolated")]), None, False),
]


class Llama:
    """llama.cpp's tokenizer of a file."""

    def __init__(self, path: Path) -> None:
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = True
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)

    def tokenize(self, text: str, ends: bool, control: bool) -> list[int]:
        data = text.encode()
        room = len(data) + 8
        ids = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(self.vocab, data, len(data), ids, room, ends, control)
        assert count >= 0, text
        return list(ids[:count])


@llama_cpp.llama_log_callback
def quiet(_level, _text, _data) -> None:
    pass


llama_cpp.llama_log_set(quiet, None)


class Golden:
    """Collects the ids of each set, and says where llama.cpp has others."""

    def __init__(self, build: Path, texts: list[str], show: bool) -> None:
        self.build, self.texts, self.show, self.sets = build, texts, show, {}

    def add(self, name: str, encode) -> None:
        self.sets[name] = [encode(text) for text in self.texts]

    def compare(self, name: str, path: Path, control: bool, ends: bool) -> None:
        llama = Llama(path)
        differs = []
        for text, ids in zip(self.texts, self.sets[name]):
            theirs = llama.tokenize(text, ends, control)
            if theirs != ids:
                differs.append((text, ids, theirs))
        print(f"{name}: {len(differs)} of {len(self.texts)} texts differ in llama.cpp", flush=True)
        for text, ids, theirs in differs[: 12 if self.show else 0]:
            print(f"  {text!r}\n    {ids}\n    {theirs}")

    def write(self, path: Path) -> None:
        lines = [" ".join(self.sets)]
        rows = zip(*self.sets.values())
        lines += [" ".join(f"{digest(ids):08x}" for ids in row) for row in rows]
        path.write_text("\n".join(lines) + "\n")


def digest(ids: list[int]) -> int:
    """FNV-1a of the numbers, four bytes each."""
    state = 0x811C9DC5
    for byte in b"".join(i.to_bytes(4, "little") for i in ids):
        state = (state ^ byte) * 0x01000193 & 0xFFFFFFFF
    return state


def byte_level(golden: Golden, out: Path, training: list[str]) -> None:
    vocab, merges = v.train_bytes(training)
    for name, pre, normalizer, ignores in PRE:
        tokenizer = v.byte_tokenizer(vocab, merges, pre, normalizer, ignores)
        path = golden.build / f"{name}.gguf"
        v.write_bytes(path, v.tokens_of(tokenizer), merges, name, add_bos=False)
        tokenizer.encode_special_tokens = True
        golden.add(name, lambda text: tokenizer.encode(text).ids)
        golden.compare(name, path, control=False, ends=False)
    tokenizer = v.byte_tokenizer(vocab, merges, splits(LLAMA3), None, True)
    begin = tokenizer.token_to_id("<|endoftext|>")
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|endoftext|> $A", pair="<|endoftext|> $A <|endoftext|> $B",
                                      special_tokens=[("<|endoftext|>", begin)])])
    v.write_bytes(out / "bytes.gguf", v.tokens_of(tokenizer), merges, "llama-bpe", add_bos=True)
    (out / "bytes.json").write_text(tokenizer.to_str())
    golden.add("llama-bpe+control", lambda text: once(tokenizer.encode(text).ids, begin))
    golden.compare("llama-bpe+control", out / "bytes.gguf", control=True, ends=True)


def once(ids: list[int], begin: int) -> list[int]:
    """A beginning token that the text has written out already is not put before it again."""
    return ids[1:] if ids[:2] == [begin, begin] else ids


def sentence_pieces(golden: Golden, out: Path, training: list[str]) -> None:
    model = v.train_pieces(training)
    pieces = v.pieces_of(model)
    for name, prefix in [("pieces", True), ("pieces-unprefixed", False)]:
        reference = sentencepiece.SentencePieceProcessor(
            model_proto=model if prefix else v.without_prefix(model))
        path = golden.build / f"{name}.gguf"
        v.write_pieces(path, pieces, prefix)
        # SentencePiece knows no added tokens: how a text goes on behind one is llama.cpp's to say.
        other = Llama(path)
        golden.add(name, lambda text: other.tokenize(text, False, False)
                   if any(token in text for token in v.USER) else reference.encode(text))
        golden.compare(name, path, control=False, ends=False)
    v.write_pieces(out / "pieces.gguf", pieces, True)
    llama = Llama(out / "pieces.gguf")
    golden.add("pieces+control", lambda text: once(llama.tokenize(text, True, True), 1))
    phi = v.pieces_json(pieces, rstrip=[t for t, _ in pieces if t not in ("<unk>", "<s>", "<|endoftext|>")])
    golden.add("pieces+phi-3", lambda text: once(phi.encode(text).ids, 1))
    path = golden.build / "phi-3.gguf"
    v.write_pieces(path, pieces, True, name="Phi-3 mini")
    golden.compare("pieces+phi-3", path, control=True, ends=True)
    tokenizer = v.pieces_json(pieces)
    (out / "pieces.json").write_text(tokenizer.to_str())
    golden.add("pieces.json", lambda text: once(tokenizer.encode(text).ids, 1))
    for name, edit in [("first", metaspace_first), ("never", replace_only)]:
        edited = json.loads(tokenizer.to_str())
        edit(edited)
        other = Tokenizer.from_str(json.dumps(edited))
        golden.add(f"pieces.json+{name}", lambda text: once(other.encode(text).ids, 1))


def metaspace_first(file: dict) -> None:
    """As newer files of Mistral and Llama 2 have it: a blank before the text, not before each part."""
    file["normalizer"] = None
    file["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}


def replace_only(file: dict) -> None:
    """As Gemma has it: no blank before anything."""
    file["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}


def words(golden: Golden, out: Path, training: list[str]) -> None:
    tokenizer = v.train_words(training)
    (out / "words.json").write_text(tokenizer.to_str())
    v.write_words(out / "words.gguf", tokenizer)
    begin = tokenizer.token_to_id("[CLS]")
    golden.add("words", lambda text: once(tokenizer.encode(text).ids, begin))
    golden.compare("words", out / "words.gguf", control=True, ends=True)
    unigram = v.train_unigram(training)
    (out / "unigram.json").write_text(unigram.to_str())
    golden.add("unigram.json", lambda text: unigram.encode(text).ids)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--show", action="store_true", help="texts that llama.cpp cuts otherwise")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    golden = Golden(args.build, made.make(), args.show)
    training = made.training()
    byte_level(golden, args.out, training)
    sentence_pieces(golden, args.out, training)
    words(golden, args.out, training)
    (args.out / "texts.json").write_text(json.dumps(golden.texts, ensure_ascii=True, indent=0) + "\n")
    golden.write(args.out / "digests.txt")


if __name__ == "__main__":
    main()
