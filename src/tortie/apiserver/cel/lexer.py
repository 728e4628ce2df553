"""Cuts the text of a CEL expression into tokens.

In: the expression. Out: tokens with their offsets; literals are decoded already. Raises CelError at the first character
that fits nowhere.
"""

import re
from dataclasses import dataclass
from typing import Any

from tortie.apiserver.cel.values import INT_MAX, UINT_MAX, CelError, Uint

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n\f]+|//[^\n]*)
  | (?P<text>(?P<prefix>[rR][bB]?|[bB][rR]?)?(?P<quote>\"\"\"|'''|"|'))
  | (?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
  | (?P<int>0[xX][0-9a-fA-F]+|\d+)(?P<unsigned>[uU])?
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | `(?P<quoted>[A-Za-z0-9_.\-/ ]+)`
  | (?P<operator>\|\||&&|==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{}])
    """,
    re.VERBOSE,
)
_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "`": "`", "?": "?",
}  # fmt: skip
_DIGITS = {"x": 2, "X": 2, "u": 4, "U": 8}


@dataclass(frozen=True, slots=True)
class Token:
    """kind: name, quoted, operator, literal, big (an integer one beyond int, for a minus before it) or end."""

    kind: str
    value: Any
    at: int


def tokens(text: str) -> list[Token]:
    """All tokens, the end among them."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise CelError(f"Syntax error: token recognition error at: {text[at]!r}", at)
        start, at = at, match.end()
        if match["space"] is not None:
            continue
        if match["text"] is not None:
            value, at = _text(text, at, (match["prefix"] or "").lower(), match["quote"])
            found.append(Token("literal", value, start))
        elif match["float"] is not None:
            found.append(Token("literal", float(match["float"]), start))
        elif match["int"] is not None:
            found.append(_integer(match["int"], bool(match["unsigned"]), start))
        elif match["name"] is not None:
            found.append(Token("name", match["name"], start))
        elif match["quoted"] is not None:
            found.append(Token("quoted", match["quoted"], start))
        else:
            found.append(Token("operator", match["operator"], start))
    found.append(Token("end", "<EOF>", len(text)))
    return found


def _integer(digits: str, unsigned: bool, at: int) -> Token:
    if len(digits) > 40:
        raise CelError("invalid int literal", at)
    value = int(digits, 16) if digits[:2].lower() == "0x" else int(digits)
    if unsigned:
        if value > UINT_MAX:
            raise CelError("invalid uint literal", at)
        return Token("literal", Uint(value), at)
    if value > INT_MAX + 1:
        raise CelError("invalid int literal", at)
    return Token("big" if value > INT_MAX else "literal", value, at)


def _text(text: str, at: int, prefix: str, quote: str) -> tuple[str | bytes, int]:
    """The literal that starts after its opening quote, and where it ends."""
    raw, binary = "r" in prefix, "b" in prefix
    parts: list[str] = []
    octets = bytearray()

    def add(char: str) -> None:
        if binary:
            octets.extend(char.encode())
        else:
            parts.append(char)

    start = at
    while True:
        if at >= len(text) or (len(quote) == 1 and text[at] in "\r\n"):
            raise CelError("Syntax error: a text literal is not closed", start - len(quote))
        if text.startswith(quote, at):
            return bytes(octets) if binary else "".join(parts), at + len(quote)
        char = text[at]
        at += 1
        if char != "\\" or raw:
            add(char)
            continue
        code = text[at : at + 1]
        at += 1
        if code in _ESCAPES and code:
            add(_ESCAPES[code])
            continue
        digits = text[at : at + _DIGITS[code]] if code in _DIGITS else text[at - 1 : at + 2]
        base, width = (16, _DIGITS[code]) if code in _DIGITS else (8, 3)
        if not re.fullmatch(r"[0-9a-fA-F]+" if base == 16 else "[0-3][0-7]{2}", digits) or len(digits) != width:
            raise CelError(f"Syntax error: unknown escape \\{code}", at - 2)
        at += width if base == 16 else 2
        value = int(digits, base)
        if binary and code not in "uU":
            octets.append(value)
        elif binary or value > 0x10FFFF or 0xD800 <= value < 0xE000:
            raise CelError(f"Syntax error: unknown escape \\{code}", at - width - 2)
        else:
            add(chr(value))
