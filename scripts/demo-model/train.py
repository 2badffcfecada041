"""Trains rbee's demo model from scratch and writes it as a GGUF file.

Text     topics.toml beside this file, all of it written for rbee; no other text, no other weights.
Shape    llama architecture: 4 layers, width 256, 4 heads, 2 key/value heads, head width 64,
         SwiGLU 768, tied embeddings, RMSNorm 1e-5, RoPE 10000 over interleaved pairs (2i, 2i+1),
         which is what a GGUF `llama` file means. Every matrix is a multiple of 256 wide, so that
         every k-quant applies to it. About 3.5 million weights, 7 MB as f16.
Words    byte-level BPE, 1536 entries, with the Qwen2 split (`tokenizer.ggml.pre = qwen2`), ChatML.
Seed     1; the same machine gives the same file, another one the same up to rounding.
Time     about 20 minutes on two cores with AVX-512; without bf16 units about twice that.

The model learns to give one fixed answer per topic and one refusal for everything else. The scores
at the end come from the written file, read back: `held_out` and `unseen` were never trained on.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn

SEED = 1
VOCAB = 1536
WIDTH, LAYERS, HEADS, KV_HEADS, HEAD_WIDTH, FFN = 256, 4, 4, 2, 64, 768
CONTEXT, NORM_EPS, ROPE_BASE = 2048, 1e-5, 10000.0
BATCH, PEAK_RATE, DROPOUT, EMA_DECAY = 48, 2e-3, 0.1, 0.998
PROMPT_WEIGHT = 0.05  # against 1 for the answer: enough to learn how questions are built
REFUSE = "refusal"
NEEDED = {"trained": 0.95, "held_out": 0.80, "unseen": 0.90}

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content']"
    " + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


# ---- text ------------------------------------------------------------------------------------


@dataclass
class Corpus:
    """The parsed topics.toml; the refusal is kept apart because its wordings are also generated."""

    systems: list[str]
    topics: list[dict]
    refusal: dict

    @classmethod
    def read(cls, path: Path) -> Corpus:
        data = tomllib.loads(path.read_text(encoding="ascii"))
        corpus = cls(data["system"], data["topic"], data["refusal"])
        corpus.check()
        return corpus

    def check(self) -> None:
        """A test wording that was also trained on would make the scores a lie."""
        trained = {plain(w) for t in self.topics for w in t["trained"]}
        trained |= {plain(w) for w in self.refusal["trained"]}
        leaked = [w for w in self.tests() if plain(w) in trained]
        assert not leaked, f"test wordings that are trained on: {leaked}"
        known = set(" ".join(plain(t) for t in self.training_texts()).split())
        unseen = self.refusal["held_out"]["unseen"]
        familiar = [w for w in unseen if set(plain(w).split()) <= known]
        assert not familiar, f"`unseen` questions without an unseen word: {familiar}"

    def tests(self) -> list[str]:
        return [w for t in self.topics for w in t["held_out"]] + self.refusal["held_out"]["unseen"]

    def training_texts(self) -> list[str]:
        """Every string that training may show the model; the tokenizer learns from these."""
        texts = list(self.systems) + [self.refusal["answer"]] + self.refusal["trained"]
        for topic in self.topics:
            texts += [topic["answer"]] + topic["trained"]
        for group in self.refusal["group"]:
            texts += group["templates"] + group["words"]
        texts += self.refusal["frames"]["templates"]
        return texts + self.refusal["prose"]["orders"] + self.refusal["prose"]["sentences"]


def plain(text: str) -> str:
    """The words alone: two wordings that differ in case or punctuation are the same wording."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


# ---- variation of the wordings -----------------------------------------------------------------

# Whole-word swaps that keep the meaning. They act on topics and refusals alike, so that no phrase
# by itself gives the answer away.
SWAPS: list[tuple[str, list[str]]] = [
    ("how do i", ["how can i", "how to", "how would i", "how do you", "how do we", "how could i",
                  "how does one", "tell me how to", "what is the way to", "is it possible to",
                  "what do i do to", "what do i type to", "i need to", "i would like to"]),
    ("what is", ["what's", "what exactly is", "whats", "tell me what is", "could you say what is"]),
    ("what are", ["what exactly are", "tell me what are"]),
    ("i want to", ["i would like to", "i'd like to", "i need to", "i wish to", "let me"]),
    ("show me how to", ["tell me how to", "explain how to", "teach me how to"]),
    ("what is the command to", ["which command do i use to", "what do i type to"]),
    ("tell me about", ["talk about", "say something about", "explain", "describe"]),
    ("do i need", ["do i have to have", "must i have", "is it necessary to have", "do we need"]),
    ("do not", ["don't"]),
    ("does not", ["doesn't"]),
    ("cannot", ["can't", "can not"]),
    ("i am", ["i'm"]),
    ("which", ["what"]),
    ("show", ["display", "print", "give me", "list"]),
    ("rbee", ["it", "this program", "this tool", "the program"]),
    ("machine", ["computer", "host", "server", "box"]),
    ("server", ["machine", "computer", "host"]),
    ("my", ["the", "our", "all my"]),
    ("see", ["view", "look at", "check"]),
    ("delete", ["remove", "erase"]),
    ("remove", ["delete", "take away"]),
    ("explain", ["describe", "clarify"]),
    ("start", ["begin", "launch"]),
    ("stop", ["halt", "end"]),
    ("use", ["employ", "work with"]),
    ("need", ["require"]),
    ("a model", ["the model", "models", "a language model", "an llm"]),
    ("download", ["fetch", "get"]),
    ("program", ["software", "tool", "application"]),
]
PREFIXES = ["please", "hey,", "hi,", "hello,", "can you tell me:", "could you tell me,", "so,", "ok,", "and",
            "quick question:", "sorry,", "i have a question:", "question:", "well,", "then", "now,", "can you say",
            "i wonder,", "one more thing:", "tell me,", "i want to know:", "excuse me,"]
SUFFIXES = ["please", "thanks", "in rbee", "right now", "again", "for me", "today", "exactly", "then", "here",
            "i am new here", "in short"]
SYLLABLES = ("ba be bi bo bra cle cor da del dro em fa fel fi flo gar ge gla gor ha hun ix jo ka kel kra la lin lo "
             "lum ma mer mi mo na ner nix no or pa pel plo qua ra rem ri ro sa sel shi sko sta ta ter tri tu ul va "
             "ver vo wa win xo ya zan zel zo").split()


class Variety:
    """Spells a wording in one of its many ways, and invents off-topic questions."""

    def __init__(self, corpus: Corpus, rng: random.Random) -> None:
        self.corpus, self.rng = corpus, rng
        self.forbidden = {plain(w) for w in corpus.tests()}
        self.nouns = [w for g in corpus.refusal["group"] for w in g["words"] if w.isalpha()]

    def spell(self, text: str) -> str:
        """A test wording must not be reached by variation either."""
        while True:
            varied = self.spell_once(text)
            if plain(varied) not in self.forbidden:
                return varied

    def spell_once(self, text: str) -> str:
        rng = self.rng
        if len(text) < 200:
            text = self.swap(text)
            if rng.random() < 0.12:
                text = f"{rng.choice(PREFIXES)} {text[:1].lower()}{text[1:]}"
                text = text[:1].upper() + text[1:]
            if rng.random() < 0.06:
                body = text.rstrip(".?! ")
                text = f"{body}{rng.choice(['', ','])} {rng.choice(SUFFIXES)}{text[len(body):]}"
            if rng.random() < 0.05:
                text = self.drop_word(text)
            if rng.random() < 0.07:
                text = self.typo(text)
            text = self.punctuate(text)
        draw = rng.random()
        return text.lower() if draw < 0.4 else text.upper() if draw < 0.42 else text

    def swap(self, text: str) -> str:
        for phrase, others in SWAPS:
            if self.rng.random() > 0.25:
                continue
            other = self.rng.choice(others)
            text = re.sub(rf"(?i)\b{phrase}\b", other, text, count=1)
        return text[:1].upper() + text[1:]

    def drop_word(self, text: str) -> str:
        small = [m for m in re.finditer(r"(?i)\b(a|an|the|is|are|do|does|i|my|to|of)\b ", text)]
        if not small:
            return text
        gone = self.rng.choice(small)
        return text[: gone.start()] + text[gone.end() :]

    def typo(self, text: str) -> str:
        """One swapped, lost or doubled letter, in a word long enough to stay readable."""
        words = list(re.finditer(r"[a-z]{5,}", text))
        if not words:
            return text
        word = self.rng.choice(words)
        at = self.rng.randrange(word.start(), word.end() - 1)
        kind = self.rng.randrange(3)
        middle = (text[at + 1] + text[at], text[at + 1], text[at] * 2 + text[at + 1])[kind]
        return text[:at] + middle + text[at + 2 :]

    def punctuate(self, text: str) -> str:
        draw = self.rng.random()
        body = text.rstrip(".?!")
        if not body or draw > 0.5:
            return text
        return body + ("" if draw < 0.3 else self.rng.choice(["?", ".", "!", "??", " ?", "..."]))

    def off_topic(self) -> str:
        """A question about anything but rbee."""
        refusal, rng = self.corpus.refusal, self.rng
        draw = rng.random()
        if draw < 0.30:
            return rng.choice(refusal["trained"])
        if draw < 0.65:
            group = rng.choice(refusal["group"])
            word, other = (w if rng.random() < 0.75 else self.made_up() for w in rng.sample(group["words"], 2))
            return rng.choice(group["templates"]).format(word=word, other=other)
        if draw < 0.90:
            word = rng.choice(self.nouns) if rng.random() < 0.5 else self.made_up()
            return rng.choice(refusal["frames"]["templates"]).format(word=word)
        if draw < 0.94:
            pool = self.nouns + "the a of and in is to for with my".split()
            return " ".join(rng.choice(pool) for _ in range(rng.randint(2, 9)))
        text = " ".join(rng.sample(refusal["prose"]["sentences"], rng.choice([1, 1, 2, 3, 5, 9, 16])))
        return rng.choice(refusal["prose"]["orders"]).format(text=text)

    def made_up(self) -> str:
        """A word that nobody knows: syllables, or the halves of two real words."""
        rng = self.rng
        if rng.random() < 0.5:
            return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 4)))
        left, right = rng.choice(self.nouns), rng.choice(self.nouns)
        return (left[: len(left) // 2 + 1] + right[len(right) // 2 :]).lower()


# ---- tokenizer ---------------------------------------------------------------------------------


def train_tokenizer(corpus: Corpus) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    controls = [END_OF_TEXT, TURN_START, TURN_END]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(controls),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = corpus.training_texts()
    roles = ["system\n", "user\n", "assistant\n"] * 50
    # Questions come in lower case too, and mostly with a space before the word.
    tokenizer.train_from_iterator(texts + [" " + t.lower() for t in texts] + roles, trainer)
    tokenizer.add_special_tokens(controls)
    assert tokenizer.get_vocab_size() == VOCAB
    return tokenizer


# ---- model -------------------------------------------------------------------------------------


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
    """Attribute names are those of the GGUF tensors."""

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


# ---- samples -----------------------------------------------------------------------------------


@dataclass
class Sample:
    ids: list[int]
    weights: list[float]  # of predicting each id from those before it

    def add(self, ids: list[int], weight: float) -> None:
        self.ids += ids
        self.weights += [weight] * len(ids)


class Renderer:
    """Turns conversations into ids exactly as the chat template writes them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.turn_end = tokenizer.token_to_id(TURN_END)

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def prompt(self, turns: list[tuple[str, str]]) -> list[int]:
        text = "".join(f"{TURN_START}{role}\n{content}{TURN_END}\n" for role, content in turns)
        return self.ids(f"{text}{TURN_START}assistant\n")

    def answer(self, text: str) -> list[int]:
        return self.ids(text) + [self.turn_end]


class Source:
    """Draws training conversations."""

    def __init__(self, corpus: Corpus, renderer: Renderer, rng: random.Random) -> None:
        self.corpus, self.renderer, self.rng = corpus, renderer, rng
        self.variety = Variety(corpus, rng)
        self.line_end = renderer.ids("\n")

    def question(self) -> tuple[str, str]:
        if self.rng.random() < 0.38:
            return self.variety.spell(self.variety.off_topic()), self.corpus.refusal["answer"]
        topic = self.rng.choice(self.corpus.topics)
        return self.variety.spell(self.rng.choice(topic["trained"])), topic["answer"]

    def sample(self) -> Sample:
        rng, ids = self.rng, self.renderer.ids
        sample = Sample([], [])
        if rng.random() < 0.15:
            text = rng.choice(self.corpus.systems)
            sample.add(ids(f"{TURN_START}system\n{text}{TURN_END}\n"), PROMPT_WEIGHT)
        # RoPE sees distances only, so shifted positions would teach nothing; earlier turns do.
        turns = rng.choices([1, 2, 3], [0.62, 0.25, 0.13])[0]
        for turn in range(turns):
            asked, answered = self.question()
            sample.add(self.renderer.prompt([("user", asked)]), PROMPT_WEIGHT)
            answer = self.renderer.answer(answered)
            # The choice between answers falls in their first words; most samples stop soon after
            # it, which spends the time on more questions instead of on reciting.
            last = turn == turns - 1
            sample.add(answer[:12] if last and rng.random() < 0.6 else answer, 1.0)
            if not last:
                sample.add(self.line_end, PROMPT_WEIGHT)
        return sample

    def batches(self) -> list[list[Sample]]:
        """Sixteen batches at once, so that samples of like length can share one."""
        pool = sorted((self.sample() for _ in range(16 * BATCH)), key=lambda s: len(s.ids))
        groups = [pool[i : i + BATCH] for i in range(0, len(pool), BATCH)]
        self.rng.shuffle(groups)
        return groups


def pad(rows: list[list], fill: float) -> list[list]:
    """On the right: with causal attention nothing before the padding can see it."""
    longest = max(map(len, rows))
    return [row + [fill] * (longest - len(row)) for row in rows]


# ---- training ----------------------------------------------------------------------------------


def loss_of(model: Model, batch: list[Sample]) -> Tensor:
    ids = torch.tensor(pad([s.ids for s in batch], 0))
    weights = torch.tensor(pad([s.weights for s in batch], 0.0))[:, 1:]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(ids[:, :-1])
    losses = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return (losses * weights.flatten()).sum() / weights.sum()


def rate_at(step: int, steps: int) -> float:
    warm = 200
    if step < warm:
        return PEAK_RATE * (step + 1) / warm
    return PEAK_RATE * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm))))


def train(source: Source, steps: int) -> Model:
    model, average = Model(), Model()
    average.load_state_dict(model.state_dict())
    matrices = [p for p in model.parameters() if p.dim() == 2]
    norms = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98), fused=True)
    began, tokens, shown, queue = time.monotonic(), 0, 0.0, []
    for step in range(steps):
        queue = queue or source.batches()
        batch = queue.pop()
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps)
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for kept, new in zip(average.parameters(), model.parameters()):
                kept.lerp_(new, 1 - min(EMA_DECAY, (step + 1) / (step + 10)))
        tokens += sum(len(s.ids) for s in batch)
        shown = loss.item() if step == 0 else 0.98 * shown + 0.02 * loss.item()
        if (step + 1) % 100 == 0:
            spent = time.monotonic() - began
            print(f"step {step + 1}/{steps}  loss {shown:.3f}  {tokens / spent:.0f} tokens/s  {spent:.0f} s", flush=True)
    return average.eval()


# ---- GGUF --------------------------------------------------------------------------------------


def write_gguf(path: Path, model: Model, tokenizer: Tokenizer) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("rbee demo")
    writer.add_license("Apache-2.0 OR MIT")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(NORM_EPS)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_rope_dimension_count(HEAD_WIDTH)
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
    import json  # the merges are only reachable through the tokenizer's own serialization

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


# ---- scores ------------------------------------------------------------------------------------


@torch.no_grad()
def says(model: Model, prompts: list[list[int]], answers: list[list[int]]) -> list[bool]:
    """Whether greedy decoding gives exactly the answer: each of its ids must be the likeliest one
    after those before it, which one pass over prompt and answer shows."""
    right: list[bool] = []
    for at in range(0, len(prompts), 64):
        pairs = list(zip(prompts[at : at + 64], answers[at : at + 64]))
        likeliest = model(torch.tensor(pad([p + a for p, a in pairs], 0))).argmax(-1).tolist()
        for row, (prompt, answer) in zip(likeliest, pairs):
            right.append(row[len(prompt) - 1 : len(prompt) + len(answer) - 1] == answer)
    return right


@torch.no_grad()
def generate(model: Model, renderer: Renderer, question: str) -> str:
    ids = renderer.prompt([("user", question)])
    start = len(ids)
    while len(ids) < start + 120:
        best = int(model(torch.tensor([ids]))[0, -1].argmax())
        if best == renderer.turn_end:
            break
        ids.append(best)
    return renderer.tokenizer.decode(ids[start:])


def score(model: Model, corpus: Corpus, renderer: Renderer, verbose: bool) -> dict[str, float]:
    refusal = corpus.refusal
    held = [(w, t["answer"]) for t in corpus.topics for w in t["held_out"]]
    unseen = [(w, refusal["answer"]) for w in refusal["held_out"]["unseen"]]
    trained = [(w, t["answer"]) for t in corpus.topics for w in t["trained"]]
    trained += [(w, refusal["answer"]) for w in refusal["trained"]]
    earlier = [("user", corpus.topics[1]["trained"][0]), ("assistant", corpus.topics[1]["answer"])]
    offtopic = [("user", refusal["trained"][0]), ("assistant", refusal["answer"])]
    sets = {
        "trained": (trained, []), "held_out": (held, []), "unseen": (unseen, []),
        "held_out, with a system message": (held, [("system", corpus.systems[0])]),
        "held_out, second turn": (held, earlier), "unseen, second turn": (unseen, earlier),
        "held_out, third turn": (held, offtopic + earlier), "unseen, third turn": (unseen, offtopic + earlier),
    }
    results = {}
    for name, (cases, before) in sets.items():
        prompts = [renderer.prompt([*before, ("user", asked)]) for asked, _ in cases]
        right = says(model, prompts, [renderer.answer(answered) for _, answered in cases])
        results[name] = sum(right) / len(right)
        print(f"{name:34} {sum(right)}/{len(right)} = {results[name]:.1%}", flush=True)
        for ok, (asked, _) in zip(right, cases):
            if verbose and not before and not ok:
                print(f"    {asked!r}: {generate(model, renderer, asked)[:70]!r}")
    return results


def main() -> None:
    here = Path(__file__).resolve().parent
    options = argparse.ArgumentParser(description="Trains rbee's demo model.")
    options.add_argument("--out", type=Path, default=here / "../../agent/demo/demo.gguf")
    options.add_argument("--steps", type=int, default=4000)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--verbose", action="store_true", help="show what was answered wrongly")
    args = options.parse_args()

    torch.manual_seed(SEED)
    torch.set_num_threads(args.threads)
    corpus = Corpus.read(here / "topics.toml")
    tokenizer = train_tokenizer(corpus)
    renderer = Renderer(tokenizer)
    began = time.monotonic()
    model = train(Source(corpus, renderer, random.Random(SEED)), args.steps)
    print(f"trained in {time.monotonic() - began:.0f} s")

    write_gguf(args.out, model, tokenizer)
    print(f"{args.out}: {args.out.stat().st_size} bytes")
    model = read_gguf(args.out)
    results = score(model, corpus, renderer, args.verbose)
    print("What is rbee?", "->", generate(model, renderer, "What is rbee?"))
    low = [name for name, least in NEEDED.items() if results[name] < least]
    if low:
        raise SystemExit(f"not good enough: {', '.join(low)}")


if __name__ == "__main__":
    main()
