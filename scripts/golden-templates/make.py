#!/usr/bin/env python3
"""Writes what Hugging Face's own renderer makes of the templates that the worker's suite renders.

Reads, in worker/tests/golden/templates:
  NAME.jinja          templates of ours with the features of those that families ship
  conversations.json  messages and tools; each template is rendered with each of them, with and
                      without tools and a generation prompt
  expressions.txt     small templates, one a line, rendered with the names of names.json
Writes golden.json there: every text, or null where the renderer raises an error. The clock stands
at 2024-02-29 12:34:56.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install -r requirements.txt
    /tmp/venv/bin/python make.py
"""

import datetime
import json
import pathlib

import transformers.utils.chat_template_utils as reference

DIR = pathlib.Path(__file__).parent / "../../worker/tests/golden/templates"


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 2, 29, 12, 34, 56)


reference.datetime = Clock


def render(source, names):
    try:
        return reference._compile_jinja_template(source).render(**names)
    except Exception:
        return None


def conversations(given):
    for name, messages in given["conversations"].items():
        for tools in (None, given["tools"]):
            for prompt in (True, False):
                yield name, {
                    "messages": messages,
                    "tools": tools,
                    "documents": None,
                    "add_generation_prompt": prompt,
                    "bos_token": "<s>",
                    "eos_token": "</s>",
                }


def main():
    given = json.loads((DIR / "conversations.json").read_text())
    names = json.loads((DIR / "names.json").read_text())
    expressions = (DIR / "expressions.txt").read_text().splitlines()
    rendered = {
        path.stem: [
            [name, values["tools"] is not None, values["add_generation_prompt"], render(path.read_text(), values)]
            for name, values in conversations(given)
        ]
        for path in sorted(DIR.glob("*.jinja"))
    }
    golden = {
        "templates": rendered,
        "expressions": [[source, render(source, names)] for source in expressions],
    }
    text = json.dumps(golden, ensure_ascii=False, indent=0)
    (DIR / "golden.json").write_text(text + "\n")


main()
