"""Texts that tokenizers disagree on: scripts, marks, emoji, code, controls, blanks, look-alikes."""

from __future__ import annotations

import random
import unicodedata

COUNT = 1200

# A few words each: what matters is the script, its marks and its spaces.
SCRIPTS = [
    "The quick brown fox jumps over the lazy dog", "I'M sure they'LL say it's what WE'VE done",
    "Zażółć gęślą jaźń", "Příliš žluťoučký kůň", "Ünïcödé façade naïve coöperate", "ÆØÅ æøå ßẞ",
    "Съешь ещё этих мягких французских булок", "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία",
    "Խելացի աղջիկը", "ქართული ენა ᲥᲐᲠᲗᲣᲚᲘ", "שָׁלוֹם עֲלֵיכֶם עולם", "السَّلامُ عَلَيْكُم ورحمة", "اردو ہے جس کا نام",
    "नमस्ते दुनिया क्षत्रिय ज्ञान", "বাংলা ভাষায় লেখা", "ਪੰਜਾਬੀ ਗੱਲ", "ગુજરાતી ભાષા", "தமிழ் மொழி வாழ்க", "తెలుగు భాష",
    "ಕನ್ನಡ ನುಡಿ", "മലയാളം ഭാഷ", "සිංහල භාෂාව", "ภาษาไทยไม่มีวรรค", "ພາສາລາວ", "ភាសាខ្មែរ", "မြန်မာဘာသာ",
    "བོད་སྐད་", "አማርኛ ቋንቋ", "한국어 문장입니다", "ㄱㄴㄷ ㅏㅑㅓ", "ひらがなとカタカナ", "日本語の文章、句読点。", "中文没有空格，標點符號！",
    "𠀀𠮷𪜀 漢字", "ᏣᎳᎩ ꮳꮃꭹ", "ᠮᠣᠩᠭᠣᠯ", "ⵜⴰⵎⴰⵣⵉⵖⵜ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝐛𝐨𝐥𝐝 𝟙𝟚𝟛", "ﬁ ﬂ ﬀ ǅ ǈ ʰ ª º", "Tiếng Việt có dấu",
    "camelCase PascalCase HTTPServer iPhone eBay ÉCOLE éÉé", "x86_64 utf8mb4 R2D2 3D 4th 1st",
]
EMOJI = ["🐝", "👩‍💻", "👨‍👩‍👧‍👦", "🇫🇷🇩🇪", "👍🏽", "❤️", "☺", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🙂", "1️⃣", "©️™"]
CODE = [
    "fn main() { println!(\"{:?}\", x[0..=3]); }", "def f(a, *b, **c):\n\treturn a+b  # why?",
    "for (int i = 0; i < n; ++i) {\n        sum += a[i];\n    }", "<div class=\"a b\">&nbsp;</div>",
    "SELECT * FROM t WHERE a<>'it''s' AND b>=1.5e-3;", "$x = $_GET['q'] ?? null; // ok",
    "https://example.org/a/b?c=d&e=%20#f", "user@example.org", "C:\\Temp\\*.txt", "a->b::c<<=2|~d^e",
    "#!/bin/sh\nset -eu\necho \"${HOME:-/}\" | tr a-z A-Z\n", "\\frac{1}{2}\\sum_{i=0}^{n} x_i",
    "{\"a\": [1, 2.50, null], \"b\": {}}", "0xDEADBEEF 0b1010 1_000_000 1,234,567.89 -17 +3",
]
DIGITS = ["7", "42", "123", "1234", "12345", "1234567890", "٣٤٥٦", "१२३४", "Ⅷ", "½", "²³", "①②", "三"]
BLANKS = [" ", "\t", "\n", "\r", "\r\n", "\u00a0", "\u3000", "\u2003", "\u0085", "\u000b", "\u000c",
          "\u2028", "\u1680"]
CONTROLS = ["\0", "\x01", "\x07", "\x1b[31m", "\x7f", "\x80", "\x9f", "\u200b", "\u200d", "\ufeff",
            "\u202e", "\ufffd", "\u00ad", "\u0301", "\u20e3", "\ufe0f", "\u180e"]
MARKS = ["'s", "'S", "'ll", "'LL", "'Re", "'ſ", "’s", "''", "'", "\"", "...", "?!", "—", "«»", "/", "//",
         "$", "+", "=", "<", ">", "^", "`", "|", "~", "_", "-", "(", ")", "·", "₿", "€", "、", "।", "؟"]
# What looks like a special token, a byte token, or the mark of a vocabulary.
LOOKALIKES = [
    "<|im_end|>", "<|im_start|>", "<|im_end", "|im_end|>", "<|im_end|> ", " <|im_end|>\n", "<s>", "</s>",
    "<s", "<unk>", "<|user|>", "<|user|", "<|user|>\n ", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "<0x0A>",
    "<0xF0>", "▁", "▁▁the", "Ġ", "Ċ", "Ġthe", "##ing", "</w>", "<|endoftext|>", "<think>", "</think>",
    "<<|im_end|>>", "<|im_<|im_end|>end|>",
]


def assigned() -> list[str]:
    """Characters of every kind. Those of Unicode 3.2 are the same in all tables since."""
    old = unicodedata.ucd_3_2_0
    codes = [c for c in range(0x30000) if not 0xD800 <= c < 0xE000 and not 0xE000 <= c < 0xF900]
    return [chr(c) for c in codes if old.category(chr(c)) not in ("Cn", "Cs", "Co")]


def make() -> list[str]:
    rng = random.Random(20)
    characters = assigned()
    pools = [SCRIPTS, EMOJI, CODE, DIGITS, CONTROLS, MARKS, LOOKALIKES]
    texts = ["", " ", "a", *SCRIPTS, *EMOJI, *CODE, *DIGITS, *BLANKS, *CONTROLS, *MARKS, *LOOKALIKES]
    texts += [b * n for b in BLANKS[:6] for n in (2, 3, 4, 5, 7, 8, 15, 16, 17, 64, 200)]
    texts += [f"{a}{b * n}{c}" for a, b, n, c in [
        ("x", " ", 3, "y"), ("x", "\n", 3, "y"), ("", " ", 4, "x"), ("x", " ", 4, ""), ("x", "\t", 2, "1"),
        ("1", " ", 2, "2"), (".", "\n", 2, "."), ("x", "\r\n", 2, "y"), ("é", " ", 9, "é"), ("x", " \n", 3, " y"),
    ]]
    texts += ["word " * 200, "ab" * 500, "a" * 1000, "1" * 500, "日本" * 200, "🐝" * 100, "é" * 300,
              "e\u0301" * 200, "'" * 100, "Aa" * 200, "=-" * 150]
    while len(texts) < COUNT:
        parts = []
        for _ in range(rng.randint(1, 9)):
            kind = rng.random()
            if kind < 0.16:
                parts.append(rng.choice(BLANKS[:4]) * rng.choice([1, 1, 1, 2, 3, 5, 12]))
            elif kind < 0.2:
                parts.append(rng.choice(BLANKS))
            elif kind < 0.3:
                parts += rng.choices(characters, k=rng.randint(1, 6))
            elif kind < 0.6:
                words = rng.choice(SCRIPTS).split(" ")
                parts.append(rng.choice(["", " "]) + rng.choice(words))
            else:
                parts.append(rng.choice(rng.choice(pools)))
        texts.append("".join(parts))
    return texts[:COUNT]


def training() -> list[str]:
    """Pieces of the same alphabets, cut without respect for words, so that tokens cross any border
    that a pre-tokenizer could draw."""
    rng = random.Random(21)
    pool = SCRIPTS * 3 + CODE * 4 + EMOJI + DIGITS + MARKS + [b * n for b in BLANKS[:3] for n in (1, 2, 4, 8)]
    pool += [str(n) for n in range(0, 2000, 7)] + ["the", " the", " and", "ing", "tion", " of", " a"] * 20
    pool += [f"{w}{e}" for w in ("it", "we", "THEY", "é") for e in ("'s", "'ll", "'LL", "'re")] * 3
    text = "".join(rng.choice(pool) + rng.choice(["", " ", "\n"]) for _ in range(6000))
    pieces = []
    while text:
        length = rng.randint(6, 24)
        pieces.append(text[:length])
        text = text[length:]
    return pieces
