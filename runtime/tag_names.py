"""What may be the name of a tag, wherever it comes from: it is printed, and written into tables, pages and headers."""

from __future__ import annotations

import unicodedata

LONGEST = 500  # characters; the longest published one has 32
_NOT_TEXT = frozenset(("Cc", "Cs"))  # control characters (of a terminal, among others), halves of characters


def is_tag_name(tag: str) -> bool:
    """Whether `tag` is a line of text."""
    return 0 < len(tag) <= LONGEST and not any(unicodedata.category(character) in _NOT_TEXT for character in tag)
