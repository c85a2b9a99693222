"""Names of files and classes as text that every table, terminal and page can show."""

import re

# Control characters, line and paragraph separators, marks that reverse the direction of text, and surrogates, which
# stand for the bytes of file names that are not UTF-8.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
FIRST_BYTE = 0xDC00  # Python decodes a byte b that is not UTF-8 as this plus b


def printable(text: str) -> str:
    r"""Return a text with escapes for what cannot be printed, such as `\n`, `\x1b` or `\xff`."""
    return UNPRINTABLE.sub(escape, text)


def escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if FIRST_BYTE + 0x80 <= code <= FIRST_BYTE + 0xFF:
        return f"\\x{code - FIRST_BYTE:02x}"
    return match[0].encode("unicode_escape").decode()
