"""The tokenizer, and conversations as ids exactly as the chat template writes them."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from model import VOCAB

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


def train_tokenizer(texts: list[str]) -> Tokenizer:
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
    roles = ["system\n", "user\n", "assistant\n"] * 50
    # Questions come in lower case too, and mostly with a space before the word.
    tokenizer.train_from_iterator(texts + [" " + t.lower() for t in texts] + roles, trainer)
    tokenizer.add_special_tokens(controls)
    assert tokenizer.get_vocab_size() == VOCAB
    return tokenizer


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
