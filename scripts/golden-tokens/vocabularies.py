"""The small vocabularies: trained here, and written as the formats have them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import (AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
USER = ["<think>", "</think>", "<|user|>"]


def merges_of(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in merges]


def tokens_of(tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]


def add_tokens(tokenizer: Tokenizer) -> None:
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in CONTROL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in USER])


def train_bytes(texts: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte pairs across all borders."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=2600, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.get_vocab(), merges_of(tokenizer)


def byte_tokenizer(vocab, merges, pre, normalizer=None, ignore_merges=False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    add_tokens(tokenizer)
    return tokenizer


def token_types(tokens: list[str], byte_tokens: bool = False) -> list[gguf.TokenType]:
    def kind(token: str) -> gguf.TokenType:
        if token in CONTROL or token in ("<s>", "</s>", "[CLS]", "[SEP]", "[PAD]", "[MASK]"):
            return gguf.TokenType.CONTROL
        if token in USER:
            return gguf.TokenType.USER_DEFINED
        if token in ("<unk>", "[UNK]"):
            return gguf.TokenType.UNKNOWN
        if byte_tokens and len(token) == 6 and token.startswith("<0x"):
            return gguf.TokenType.BYTE
        return gguf.TokenType.NORMAL
    return [kind(token) for token in tokens]


def write(path: Path, fill) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "llama")
    fill(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_bytes(path: Path, tokens: list[str], merges, pre: str, add_bos: bool) -> None:
    def fill(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(tokens)
        writer.add_token_types(token_types(tokens))
        writer.add_token_merges([" ".join(m) for m in merges])
        writer.add_bos_token_id(tokens.index("<|endoftext|>"))
        writer.add_eos_token_id(tokens.index("<|im_end|>"))
        writer.add_add_bos_token(add_bos)
    write(path, fill)


def train_pieces(texts: list[str]) -> bytes:
    """SentencePiece's byte pairs, with a byte for what is rare."""
    model = io.BytesIO()
    lines = [t for t in "".join(texts).replace("\0", "").split("\n") if t.strip()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="bpe", vocab_size=1600,
        byte_fallback=True, character_coverage=0.98, normalization_rule_name="identity",
        remove_extra_whitespaces=False, split_by_whitespace=False, split_by_unicode_script=False,
        split_by_number=False, split_digits=False, max_sentencepiece_length=12,
        user_defined_symbols=USER, control_symbols=CONTROL, allow_whitespace_only_pieces=True,
        minloglevel=2)
    return model.getvalue()


def without_prefix(model: bytes) -> bytes:
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model)
    proto.normalizer_spec.add_dummy_prefix = False
    return proto.SerializeToString()


def pieces_of(model: bytes) -> list[tuple[str, float]]:
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model)
    return [(piece.piece, piece.score) for piece in proto.pieces]


def write_pieces(path: Path, pieces: list[tuple[str, float]], prefix: bool, name: str = "") -> None:
    tokens = [token for token, _ in pieces]

    def fill(writer: gguf.GGUFWriter) -> None:
        if name:
            writer.add_name(name)
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(tokens)
        writer.add_token_scores([score for _, score in pieces])
        writer.add_token_types(token_types(tokens, byte_tokens=True))
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        writer.add_add_space_prefix(prefix)
    write(path, fill)


def pieces_json(pieces: list[tuple[str, float]], rstrip=("<|user|>",)) -> Tokenizer:
    """The same vocabulary as Hugging Face's converter writes it: pairs by the whole's rank."""
    ranks = {token: rank for rank, (token, _) in enumerate(pieces)}
    scores = dict(pieces)
    normal = {t for t, k in zip(ranks, token_types(list(ranks), True)) if k == gguf.TokenType.NORMAL}
    merges = []
    for whole in normal:
        splits = [(whole[:i], whole[i:]) for i in range(1, len(whole))]
        splits = [s for s in splits if s[0] in normal and s[1] in normal]
        merges += sorted(((scores[whole], *s) for s in splits), key=lambda s: (ranks[s[1]], ranks[s[2]]))
    merges = [(a, b) for _, a, b in sorted(merges, key=lambda m: -m[0])]
    tokenizer = Tokenizer(models.BPE(
        vocab=ranks, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>", *CONTROL]
    for tokens, is_special in [(special, True), (USER, False)]:
        added = [AddedToken(t, special=is_special, normalized=False, rstrip=t in rstrip) for t in tokens]
        (tokenizer.add_special_tokens if is_special else tokenizer.add_tokens)(added)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", ranks["<s>"])])
    return tokenizer


def train_words(texts: list[str]) -> Tokenizer:
    """BERT's pieces of words, in lower case and without accents."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=1500, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator("".join(texts).split("\n"), trainer)
    tokenizer.decoder = decoders.WordPiece()
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", cls), ("[SEP]", sep)])
    return tokenizer


def write_words(path: Path, tokenizer: Tokenizer) -> None:
    tokens = tokens_of(tokenizer)
    types = token_types(tokens)

    def phantom(token: str, kind: gguf.TokenType) -> str:
        if kind != gguf.TokenType.NORMAL:
            return token
        return token[2:] if token.startswith("##") else "▁" + token

    def fill(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("bert")
        writer.add_token_list([phantom(t, k) for t, k in zip(tokens, types)])
        writer.add_token_types(types)
        writer.add_bos_token_id(tokens.index("[CLS]"))
        writer.add_unk_token_id(tokens.index("[UNK]"))
        writer.add_sep_token_id(tokens.index("[SEP]"))
        writer.add_pad_token_id(tokens.index("[PAD]"))
    write(path, fill)


def train_unigram(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first")
    trainer = trainers.UnigramTrainer(
        vocab_size=900, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator("".join(texts).split("\n"), trainer)
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="first")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))])
    return tokenizer
