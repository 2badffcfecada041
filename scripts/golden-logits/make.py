#!/usr/bin/env python3
"""Writes the golden logits that the worker's suite compares its decoder with.

For each variant below, Hugging Face transformers builds a tiny model (CPU, float32, eager attention),
loads weights that both sides can make from names alone, and computes the logits of a prompt of
PROMPT tokens and of DECODED more that it chooses itself, one by one, with its own cache. Since
attention is causal, position t of that run is the answer to a prompt of t + 1 tokens.

Written for each variant, into worker/tests/golden:
  NAME.json  the config as transformers saved it; names, shapes and scales of the tensors as
             transformers saved them; which metadata and tensors llama.cpp's converter makes of
             them; the chosen tokens; the positions whose logits are kept whole
  NAME.f32   little-endian f32: the logits of those positions, then for every position the sum of
             its logits with fixed random signs, then for every position their length as a vector

And dequantized.json and dequantized.f32: two blocks of each quantized type as bytes and as numbers,
by the gguf package's quants.py.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install -r requirements.txt
    /tmp/venv/bin/python make.py [NAME…]
"""

import json
import math
import pathlib
import sys
import tempfile

import gguf
import numpy as np
import safetensors
import safetensors.numpy
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

OUT = pathlib.Path(__file__).resolve().parents[2] / "worker" / "tests" / "golden"
PROMPT, DECODED, VOCAB = 2000, 40, 128
KEPT = [0, 1, 2, 36, 299, 1023, 1999, 2039]

SMALL = dict(
    vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=4096,
    rms_norm_eps=1e-5, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
LONG = [1.0 + n / 3 for n in range(12)]
SHORT = [1.0 + n / 24 for n in range(12)]
LONGROPE = dict(
    head_dim=None, hidden_size=128, tie_word_embeddings=True,
    original_max_position_embeddings=512,
    rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75,
                         long_factor=LONG, short_factor=SHORT,
                         original_max_position_embeddings=512),
)
# name: (model_type, what differs from SMALL, has a GGUF form)
VARIANTS = {
    "llama": ("llama", {}, True),
    "llama-llama3": ("llama", dict(
        attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="llama3", rope_theta=500000.0, factor=8.0,
                             low_freq_factor=1.0, high_freq_factor=4.0,
                             original_max_position_embeddings=256)), True),
    "llama-linear": ("llama", dict(
        rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)), True),
    "mistral": ("mistral", dict(sliding_window=300, rope_parameters=dict(
        rope_type="default", rope_theta=1e6)), True),
    "qwen2": ("qwen2", dict(tie_word_embeddings=True), True),
    "qwen2-window": ("qwen2", dict(
        use_sliding_window=True, sliding_window=200, max_window_layers=1), False),
    "qwen3": ("qwen3", dict(head_dim=32), True),
    "qwen3-yarn": ("qwen3", dict(head_dim=32, tie_word_embeddings=True, rope_parameters=dict(
        rope_type="yarn", rope_theta=1e6, factor=4.0, original_max_position_embeddings=512)), True),
    "gemma2": ("gemma2", dict(
        num_hidden_layers=4, sliding_window=256, query_pre_attn_scalar=16, tie_word_embeddings=True,
        attn_logit_softcapping=2.0, final_logit_softcapping=5.0), True),
    "gemma2-scaled": ("gemma2", dict(
        num_hidden_layers=2, sliding_window=256, query_pre_attn_scalar=5, tie_word_embeddings=True,
        final_logit_softcapping=None, attn_logit_softcapping=None), False),
    "gemma3": ("gemma3_text", dict(
        num_hidden_layers=7, sliding_window=128, query_pre_attn_scalar=16, tie_word_embeddings=True,
        rope_parameters=dict(
            full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
            sliding_attention=dict(rope_type="default", rope_theta=10000.0))), True),
    "phi3": ("phi3", dict(head_dim=None, sliding_window=400), True),
    "phi3-longrope": ("phi3", LONGROPE, True),
    "phi3-longrope-short": ("phi3", LONGROPE, True),
    "smollm3": ("smollm3", dict(head_dim=None, num_hidden_layers=5, tie_word_embeddings=True,
                                use_sliding_window=False), True),
    "granite": ("granite", dict(
        head_dim=None, embedding_multiplier=6.0, logits_scaling=3.0, residual_multiplier=0.4,
        attention_multiplier=0.15, tie_word_embeddings=True), True),
    "mixtral": ("mixtral", dict(num_local_experts=4, num_experts_per_tok=2), True),
    "qwen3moe": ("qwen3_moe", dict(
        head_dim=32, num_experts=6, num_experts_per_tok=3, moe_intermediate_size=48,
        norm_topk_prob=True), True),
    "qwen3moe-unnormed": ("qwen3_moe", dict(
        head_dim=32, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=48,
        norm_topk_prob=False), False),
}


def noise(name, count):
    """Numbers from -128 to 127 that follow from a name: FNV-1a, then SplitMix64's finaliser."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) % 2**64
    x = np.uint64(state) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(56)).astype(np.int64) - 128


def scale_of(name, shape, gemma):
    """(middle, bits): a weight is middle + noise / 2**bits. Norms have 6 bits of noise only, so that
    every weight is the same number in f32, f16 and bf16."""
    if "norm" in name:
        return (0.0 if gemma else 1.0), 6
    if len(shape) == 1:
        return 0.0, 9
    if "embed" in name or "lm_head" in name:
        return 0.0, 7
    return 0.0, 7 + max(0, round(math.log2(shape[-1]) / 2) - 1)


def weights(name, shape, middle, bits):
    numbers = noise(name, math.prod(shape))
    if "norm" in name:
        numbers = numbers >> 2
    return (middle + numbers / 2.0**bits).astype(np.float32).reshape(shape)


def build(variant, model_type, changes, directory):
    """A model whose files hold our weights; what they hold."""
    known = AutoConfig.for_model(model_type).to_dict()
    merged = {key: value for key, value in {**SMALL, **changes}.items()
              if key in known or key in changes}
    if merged.get("head_dim", 0) is None:
        del merged["head_dim"]
    config = AutoConfig.for_model(model_type, **merged)
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    path = directory / "model.safetensors"
    with safetensors.safe_open(path, "np") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in sorted(file.keys())}
    tensors, described = {}, []
    for name, shape in shapes.items():
        middle, bits = scale_of(name, shape, model_type.startswith("gemma"))
        tensors[name] = weights(name, shape, middle, bits)
        described.append(dict(name=name, shape=shape, middle=middle, bits=bits))
    safetensors.numpy.save_file(tensors, path, metadata={"format": "pt"})
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager")
    return model.eval(), described


def logits_of(model, prompt, decoded):
    """Logits of every position, and the tokens that were chosen."""
    tokens = [(int(t) + 128) % VOCAB for t in noise("prompt", prompt)]
    with torch.no_grad():
        out = model(torch.tensor([tokens]), use_cache=True)
        rows, cache, chosen = [out.logits[0]], out.past_key_values, []
        for _ in range(decoded):
            last = rows[-1][-1]
            # The likeliest would soon repeat itself.
            chosen.append(int(torch.topk(last, 3).indices[len(chosen) % 3]))
            out = model(torch.tensor([[chosen[-1]]]), past_key_values=cache, use_cache=True)
            rows, cache = rows + [out.logits[0]], out.past_key_values
        together = torch.cat(rows)
        at_once = model(torch.tensor([tokens + chosen])).logits[0]
        apart = (together - at_once).norm(dim=1) / at_once.norm(dim=1)
        assert apart.max() < 1e-4, f"transformers disagrees with itself by {apart.max()}"
    return tokens, chosen, together.double().numpy()


def llama3_factors(rope, dim):
    """What llama.cpp's converter writes as rope_freqs.weight."""
    factors = []
    low = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
    high = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
    for n in range(0, dim, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (n / dim)
        if wavelength < high:
            factors.append(1.0)
        elif wavelength > low:
            factors.append(rope["factor"])
        else:
            smooth = rope["original_max_position_embeddings"] / wavelength - rope["low_freq_factor"]
            smooth /= rope["high_freq_factor"] - rope["low_freq_factor"]
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return factors


ARCHITECTURES = {"mistral": "llama", "mixtral": "llama", "gemma3_text": "gemma3",
                 "qwen3_moe": "qwen3moe"}


def gguf_metadata(arch, config):
    """Metadata keys as llama.cpp's converter writes them."""
    heads, window = config["num_attention_heads"], config.get("sliding_window")
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    rope = config["rope_parameters"]
    rope = rope.get("full_attention", rope)
    keys = {
        "block_count": config["num_hidden_layers"],
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "rope.dimension_count": int(head_dim * rope.get("partial_rotary_factor", 1.0)),
        "rope.freq_base": rope["rope_theta"],
        "vocab_size": config["vocab_size"],
    }
    if window:
        keys["attention.sliding_window"] = window
    if rope["rope_type"] in ("linear", "yarn"):
        keys["rope.scaling.type"] = rope["rope_type"]
        keys["rope.scaling.factor"] = rope["factor"]
    if rope["rope_type"] in ("yarn", "longrope"):
        original = rope["original_max_position_embeddings"]
        keys["rope.scaling.original_context_length"] = original
    if rope["rope_type"] == "longrope":
        stretch = config["max_position_embeddings"] / original
        keys["rope.scaling.attn_factor"] = math.sqrt(1 + math.log(stretch) / math.log(original))
    if arch == "gemma2":
        keys["attn_logit_softcapping"] = config["attn_logit_softcapping"]
        keys["final_logit_softcapping"] = config["final_logit_softcapping"]
    if arch == "granite":
        keys["attention.scale"] = config["attention_multiplier"]
        keys["embedding_scale"] = config["embedding_multiplier"]
        keys["residual_scale"] = config["residual_multiplier"]
        keys["logit_scale"] = config["logits_scaling"]
    experts = config.get("num_local_experts") or config.get("num_experts")
    if experts:
        keys["expert_count"] = experts
        keys["expert_used_count"] = config["num_experts_per_tok"]
    if config.get("moe_intermediate_size"):
        keys["expert_feed_forward_length"] = config["moe_intermediate_size"]
    known = {value.replace("{arch}", arch) for group in vars(gguf.Keys).values() if isinstance(group, type)
             for value in vars(group).values() if isinstance(value, str)}
    metadata = {"general.architecture": arch}
    metadata.update({f"{arch}.{key}": value for key, value in keys.items()})
    assert not set(metadata) - known, set(metadata) - known
    return metadata


def gguf_tensors(arch, config, described):
    """Tensors as llama.cpp's converter makes them: from which, and how."""
    names = gguf.get_tensor_name_map(
        next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == arch),
        config["num_hidden_layers"])
    interleaved = arch in ("llama", "smollm3", "granite")
    tensors, stacks = [], {}
    for tensor in described:
        source = tensor["name"]
        if ".experts." in source and not source.endswith("_proj"):
            before, after = source.split(".experts.")
            number, part = after.split(".", 1)
            merged = names.get_name(f"{before}.experts.{part}", try_suffixes=(".weight",))
            assert merged, source
            stacks.setdefault(merged, {})[int(number)] = source
            continue
        name = names.get_name(source, try_suffixes=(".weight", ".bias"))
        assert name, source
        how = {}
        if interleaved and ("q_proj" in source or "k_proj" in source):
            of_keys = "k_proj" in source
            how["interleave"] = config["num_key_value_heads" if of_keys else "num_attention_heads"]
        if arch.startswith("gemma") and "norm" in source:
            how["add"] = 1.0
        tensors.append(dict(name=name, of=[source], **how))
    for name, parts in stacks.items():
        tensors.append(dict(name=name, of=[parts[n] for n in range(len(parts))]))
    rope = config["rope_parameters"]
    if rope.get("rope_type") == "llama3":
        head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        tensors.append(dict(name="rope_freqs.weight", values=llama3_factors(rope, head_dim)))
    if rope.get("rope_type") == "longrope":
        for kind in ("long", "short"):
            values = rope[f"{kind}_factor"]
            tensors.append(dict(name=f"rope_factors_{kind}.weight", values=values))
    return tensors


def shown(described):
    """JSON with a line for each tensor and each figure."""
    def lines(value):
        begin, end = "[]" if isinstance(value, list) else "{}"
        parts = value if isinstance(value, list) else [
            f"{json.dumps(key)}: {json.dumps(part)}" for key, part in value.items()]
        parts = [part if isinstance(part, str) else json.dumps(part) for part in parts]
        return begin + "\n  " + ",\n  ".join(parts) + "\n " + end
    long = ("config", "tensors", "metadata", "gguf")
    parts = [f"{json.dumps(key)}: {lines(value) if key in long else json.dumps(value)}"
             for key, value in described.items()]
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def write_variant(variant):
    model_type, changes, has_gguf = VARIANTS[variant]
    prompt, decoded = (500, 12) if variant.endswith("-short") else (PROMPT, DECODED)
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        model, described = build(variant, model_type, changes, directory)
        config = json.loads((directory / "config.json").read_text())
    _, chosen, logits = logits_of(model, prompt, decoded)
    kept = [position for position in KEPT if position < len(logits)]
    signs = np.where(noise("signs", VOCAB) < 0, -1.0, 1.0)
    numbers = [logits[kept].ravel(), logits @ signs, np.linalg.norm(logits, axis=1)]
    np.concatenate(numbers).astype("<f4").tofile(OUT / f"{variant}.f32")
    described = dict(
        config=config, prompt=prompt, chosen=chosen, kept=kept, tensors=described,
        ctx_size=512 if variant.endswith("-short") else 2560)
    if has_gguf:
        arch = ARCHITECTURES.get(model_type, model_type)
        described["metadata"] = gguf_metadata(arch, config)
        described["gguf"] = gguf_tensors(arch, config, described["tensors"])
    (OUT / f"{variant}.json").write_text(shown(described))
    print(variant, f"{np.abs(logits).max():.2f}", len(set(np.argmax(logits, axis=1))), chosen[:8])


def write_dequantized():
    types = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "BF16",
             "F16"]
    described, numbers = [], []
    for name in types:
        kind = gguf.GGMLQuantizationType[name]
        columns = 256
        normal = noise(name, 2 * columns).astype(np.float32).reshape(2, columns) / 64
        if name.endswith("_K"):
            # quants.py dequantizes these but does not quantize: any bytes are blocks of them, once
            # their 16-bit scales are small numbers.
            size = gguf.GGML_QUANT_SIZES[kind][1]
            data = (noise(name, 2 * size) % 256).astype(np.uint8).reshape(2, size)
            halves = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2),
                      "Q6_K": (208,)}[name]
            for at in halves:
                scale = np.array([0.0123 + at / 2048], "<f2").view(np.uint8)
                data[:, at:at + 2] = scale
        else:
            data = gguf.quants.quantize(normal, kind)
        values = gguf.quants.dequantize(data, kind)
        described.append(dict(type=name, id=int(kind), bytes=data.tobytes().hex()))
        numbers.append(np.asarray(values, np.float32).ravel())
    np.concatenate(numbers).astype("<f4").tofile(OUT / "dequantized.f32")
    (OUT / "dequantized.json").write_text(json.dumps(described, indent=1) + "\n")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    np.seterr(over="ignore")
    if len(sys.argv) == 1:
        write_dequantized()
    for variant in sys.argv[1:] or VARIANTS:
        write_variant(variant)
