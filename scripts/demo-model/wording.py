"""The text: reads topics.toml, and varies its wordings the way people do."""

from __future__ import annotations

import random
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Corpus:
    """The parsed topics.toml; the refusal is kept apart because its wordings are also generated."""

    systems: list[str]
    topics: list[dict]
    variety: dict
    refusal: dict

    @classmethod
    def read(cls, path: Path) -> Corpus:
        data = tomllib.loads(path.read_text(encoding="ascii"))
        corpus = cls(data["system"], data["topic"], data["variety"], data["refusal"])
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


class Variety:
    """Spells a wording in one of its many ways, and invents off-topic questions."""

    def __init__(self, corpus: Corpus, rng: random.Random) -> None:
        self.corpus, self.rng, self.words = corpus, rng, corpus.variety
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
                text = f"{rng.choice(self.words['prefixes'])} {text[:1].lower()}{text[1:]}"
                text = text[:1].upper() + text[1:]
            if rng.random() < 0.06:
                body = text.rstrip(".?! ")
                suffix = rng.choice(["", ","]) + " " + rng.choice(self.words["suffixes"])
                text = body + suffix + text[len(body) :]
            if rng.random() < 0.05:
                text = self.drop_word(text)
            if rng.random() < 0.07:
                text = self.typo(text)
            text = self.punctuate(text)
        draw = rng.random()
        return text.lower() if draw < 0.4 else text.upper() if draw < 0.42 else text

    def swap(self, text: str) -> str:
        for phrase, *others in self.words["swaps"]:
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
            word, other = (
                w if rng.random() < 0.75 else self.made_up() for w in rng.sample(group["words"], 2)
            )
            return rng.choice(group["templates"]).format(word=word, other=other)
        if draw < 0.90:
            word = rng.choice(self.nouns) if rng.random() < 0.5 else self.made_up()
            return rng.choice(refusal["frames"]["templates"]).format(word=word)
        if draw < 0.94:
            pool = self.nouns + "the a of and in is to for with my".split()
            return " ".join(rng.choice(pool) for _ in range(rng.randint(2, 9)))
        text = " ".join(
            rng.sample(refusal["prose"]["sentences"], rng.choice([1, 1, 2, 3, 5, 9, 16]))
        )
        return rng.choice(refusal["prose"]["orders"]).format(text=text)

    def made_up(self) -> str:
        """A word that nobody knows: syllables, or the halves of two real words."""
        rng = self.rng
        if rng.random() < 0.5:
            return "".join(rng.choice(self.words["syllables"]) for _ in range(rng.randint(2, 4)))
        left, right = rng.choice(self.nouns), rng.choice(self.nouns)
        return (left[: len(left) // 2 + 1] + right[len(right) // 2 :]).lower()
