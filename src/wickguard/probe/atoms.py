"""Atoms: what hostile texts are made of, one structure each. The dictionary that the fuzzer tries first.

Decides which structures are worth trying on anything that tokenises, normalises, splits or filters text; each has cost
somebody too much (research/attacks.md sections 3.1 and 8). Promises valid UTF-8. It must not know targets.
"""

from __future__ import annotations

# Name -> what is repeated.
ATOMS: dict[str, str] = {
    "one letter": "a",
    "two letters": "ab",
    "one capital": "A",
    "case changes": "aA",
    "underscores": "_",
    "digits": "7",
    "digits and commas": "1,",
    "digits and dots": "1.",
    "spaces": " ",
    "spaces between letters": "a ",
    "newlines": "\n",
    "carriage returns": "\r",
    "tabs": "\t",
    "quotes": '"',
    "backslashes": "\\",
    "opening brackets": "(",
    "nested brackets": "([{",
    "at signs": "@",
    "dots": ".",
    "dashes": "-",
    "exclamation marks": "!",
    "ampersands": "&amp;",
    "tags": "<a>",
    "tag that never ends": "<",
    "special tokens": "<|im_start|>",
    "mask tokens": "[MASK]",
    "urls": "http://a.b/c?",
    "mail addresses": "a@b.cd ",
    "hexadecimal": "deadbeef",
    "cjk": "語",
    "hangul": "각",
    "thai": "ก็",
    "devanagari": "क्ष",
    "arabic": "ﷺ",
    "mathematical capitals": "𝔸",
    "emoji": "😀",
    "joined emoji": "👩‍👩‍👧‍👦",
    "flags": "🇦🇧",
    "combining marks": "\u0315\u0300",
    "letter with marks": "a\u0315\u0300\u0323",
    "zero width": "\u200b",
    "right to left": "\u202e",
    "private use": "\ue000",
    "noncharacters": "\ufffd",
    "ligatures": "ﬃ",
    "dotted capital": "İ",
    "controls": "\x7f",
}
