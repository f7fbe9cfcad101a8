r"""Names of files and folders as text that any program can read: in tables, lists, JSON and HTML.

A name may hold bytes that are not UTF-8, line breaks and other control characters. Here each of those becomes
an escape, as in Python: `\n`, `\x07`, `\xff` for a byte that is not UTF-8; and a backslash becomes two, so
that `original` gets the name back. Other names stay as they are.
"""

import re
from typing import Any

# What is escaped: control characters, line separators, backslashes, and what Python makes of other bytes.
_ESCAPED = re.compile("[\x00-\x1f\x7f-\x9f\\\\\u2028\u2029\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(?:\\|[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4})")
_SHORT = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LONG = {escape: character for character, escape in _SHORT.items()}
_BYTE = 0xDC00  # of a byte that is not UTF-8 Python makes the character of this number plus the byte's


def plain(name: str) -> str:
    """A name, as `os.fsdecode` gives it, with escapes for what is no ordinary character."""
    return _ESCAPED.sub(lambda found: _escape(found[0]), name)


def original(text: str) -> str:
    """The name that `plain` made this text of."""
    return _ESCAPE.sub(lambda found: _unescape(found[0]), text)


def plain_json(value: Any) -> Any:
    """What JSON is made of, with every text in it plain, keys included."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain_json(key): plain_json(item) for key, item in value.items()}
    return [plain_json(item) for item in value] if isinstance(value, list | tuple) else value


def _escape(character: str) -> str:
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\x{code - _BYTE:02x}" if _BYTE + 0x80 <= code <= _BYTE + 0xFF else f"\\u{code:04x}"


def _unescape(escape: str) -> str:
    if escape in _LONG:
        return _LONG[escape]
    code = int(escape[2:], 16)
    return chr(code + _BYTE if escape[1] == "x" and code >= 0x80 else code)
