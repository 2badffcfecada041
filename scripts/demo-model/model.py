"""The network: a llama decoder whose attribute names are those of the GGUF tensors."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCAB = 1536
WIDTH, LAYERS, HEADS, KV_HEADS, HEAD_WIDTH, FFN = 256, 4, 4, 2, 64, 768
CONTEXT, NORM_EPS, ROPE_BASE = 2048, 1e-5, 10000.0
DROPOUT = 0.1


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn_norm = nn.RMSNorm(WIDTH, eps=NORM_EPS)
        self.attn_q = nn.Linear(WIDTH, HEADS * HEAD_WIDTH, bias=False)
        self.attn_k = nn.Linear(WIDTH, KV_HEADS * HEAD_WIDTH, bias=False)
        self.attn_v = nn.Linear(WIDTH, KV_HEADS * HEAD_WIDTH, bias=False)
        self.attn_output = nn.Linear(HEADS * HEAD_WIDTH, WIDTH, bias=False)
        self.ffn_norm = nn.RMSNorm(WIDTH, eps=NORM_EPS)
        self.ffn_gate = nn.Linear(WIDTH, FFN, bias=False)
        self.ffn_up = nn.Linear(WIDTH, FFN, bias=False)
        self.ffn_down = nn.Linear(FFN, WIDTH, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + F.dropout(self.attend(self.attn_norm(x), cos, sin), DROPOUT, self.training)
        h = self.ffn_norm(x)
        h = self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))
        return x + F.dropout(h, DROPOUT, self.training)

    def attend(self, h: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        rows, length, _ = h.shape
        q = rotate(self.attn_q(h).view(rows, length, HEADS, HEAD_WIDTH), cos, sin)
        k = rotate(self.attn_k(h).view(rows, length, KV_HEADS, HEAD_WIDTH), cos, sin)
        v = self.attn_v(h).view(rows, length, KV_HEADS, HEAD_WIDTH)
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, dim=2) for t in (k, v))
        q, k, v = (t.transpose(1, 2) for t in (q.to(v.dtype), k.to(v.dtype), v))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.attn_output(out.transpose(1, 2).reshape(rows, length, HEADS * HEAD_WIDTH))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token_embd = nn.Embedding(VOCAB, WIDTH)
        self.blk = nn.ModuleList(Block() for _ in range(LAYERS))
        self.output_norm = nn.RMSNorm(WIDTH, eps=NORM_EPS)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                deep = name.endswith(("attn_output.weight", "ffn_down.weight"))
                nn.init.normal_(weight, std=0.03 / math.sqrt(2 * LAYERS) if deep else 0.03)

    def forward(self, ids: Tensor) -> Tensor:
        cos, sin = rope_tables(ids.shape[1])
        x = F.dropout(self.token_embd(ids), DROPOUT, self.training)
        for block in self.blk:
            x = block(x, cos, sin)
        return F.linear(self.output_norm(x), self.token_embd.weight)


def rope_tables(length: int) -> tuple[Tensor, Tensor]:
    rates = ROPE_BASE ** (-torch.arange(0, HEAD_WIDTH, 2).float() / HEAD_WIDTH)
    angles = torch.outer(torch.arange(length).float(), rates)[None, :, None, :]
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    even, odd = x[..., 0::2].float(), x[..., 1::2].float()
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)
