"""What captions are made of, read one way everywhere: their words, and when two of them read alike."""

from __future__ import annotations

import unicodedata

STOPS = ".。．｡।॥۔…!！?？"  # what may end a sentence


def text_key(caption: str) -> str:
    """Equal for captions that read alike: NFC, without regard to case, white space and what ends the sentence.

    >>> text_key("A  dog. ") == text_key("a dog")
    True
    """
    words = unicodedata.normalize("NFC", unicodedata.normalize("NFC", caption).casefold()).split()
    key = " ".join(words)
    return key.rstrip(STOPS + " ") or key
