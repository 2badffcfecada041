"""The GGUF file: written from a trained model, and read back for its scores."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer

import model as shape
from model import VOCAB, Model
from tokens import CHAT_TEMPLATE, END_OF_TEXT, TURN_END, TURN_START


def write_gguf(path: Path, model: Model, tokenizer: Tokenizer) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("rbee demo")
    writer.add_license("Apache-2.0 OR MIT")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(shape.CONTEXT)
    writer.add_embedding_length(shape.WIDTH)
    writer.add_block_count(shape.LAYERS)
    writer.add_feed_forward_length(shape.FFN)
    writer.add_head_count(shape.HEADS)
    writer.add_head_count_kv(shape.KV_HEADS)
    writer.add_layer_norm_rms_eps(shape.NORM_EPS)
    writer.add_rope_freq_base(shape.ROPE_BASE)
    writer.add_rope_dimension_count(shape.HEAD_WIDTH)
    writer.add_vocab_size(VOCAB)
    write_tokenizer(writer, tokenizer)
    for name, weight in model.named_parameters():
        kind = np.float16 if weight.dim() == 2 else np.float32
        writer.add_tensor(name, weight.detach().numpy().astype(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    controls = {END_OF_TEXT, TURN_START, TURN_END}
    tokens = [tokenizer.id_to_token(i) for i in range(VOCAB)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL if t in controls else gguf.TokenType.NORMAL for t in tokens]
    )
    writer.add_token_merges(merges_of(tokenizer))
    writer.add_bos_token_id(tokenizer.token_to_id(END_OF_TEXT))
    writer.add_eos_token_id(tokenizer.token_to_id(TURN_END))
    writer.add_pad_token_id(tokenizer.token_to_id(END_OF_TEXT))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def merges_of(tokenizer: Tokenizer) -> list[str]:
    # Only the tokenizer's own serialization shows them.
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [m if isinstance(m, str) else " ".join(m) for m in merges]


def read_gguf(path: Path) -> Model:
    tensors = {t.name: t for t in gguf.GGUFReader(path).tensors}
    model = Model()
    assert set(tensors) == {name for name, _ in model.named_parameters()}
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(torch.from_numpy(tensors[name].data.astype(np.float32)))
    return model.eval()
