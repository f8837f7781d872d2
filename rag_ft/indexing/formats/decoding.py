"""Bytes → text, in the encoding given by a byte order mark, by the page itself, or else guessed from its letters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.schema import Metadata


def decode(data: bytes) -> tuple[str, str]:
    """Decode bytes of unknown encoding; returns the text and the encoding's name. Raises Unreadable if not text."""
    for mark, encoding in (
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe\x00\x00", "utf-32"),
        (b"\x00\x00\xfe\xff", "utf-32"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if data.startswith(mark):
            return _decode_marked(data, encoding)
    sample = data[:65536]
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in sample)
    if b"\0" in sample or control * 50 > len(sample):
        raise Unreadable("holds binary data, not text")
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    if is_mostly_utf8(data):
        return data.decode("utf-8", "replace"), _WITH_ERRORS
    return _decode_by_guess(data)


_WITH_ERRORS = "utf-8 with errors"
_MOST_ERRORS = 0.02
"""Share of a text with a byte order mark that may be replaced."""

_COMMON_LETTERS = re.compile("[\u00a1-\u017f\u2010-\u2026\u2030-\u203a\u20ac\u2122]")


def _decode_marked(data: bytes, encoding: str) -> tuple[str, str]:
    """Decode text that starts with a byte order mark; single wrong bytes and a cut end are replaced."""
    try:
        return data.decode(encoding), encoding
    except UnicodeDecodeError as error:
        text = data.decode(encoding, "replace")
        if text.count("\ufffd") <= max(1, len(text) * _MOST_ERRORS):
            return text, f"{encoding} with errors"
        raise Unreadable(f"starts with the mark of {encoding} but is not {encoding}: save it as UTF-8") from error


def is_mostly_utf8(data: bytes) -> bool:
    """Whether bytes that are not valid UTF-8 are proven to be UTF-8 with single wrong bytes or a cut end.

    In other encodings, bytes beyond ASCII form UTF-8's sequences only by chance. The proof is more sequences than
    errors, or as many if all of them are letters and signs of European languages.
    """
    text = data.decode("utf-8", "replace")
    errors = text.count("\ufffd") - data.count(b"\xef\xbf\xbd")
    sequences = sum(map(len, _BEYOND_ASCII.findall(text))) - text.count("\ufffd")
    if sequences > errors:
        return True
    return 0 < sequences == errors and len(_COMMON_LETTERS.findall(text)) == sequences


def _decode_by_guess(data: bytes) -> tuple[str, str]:
    """Decode text in an older encoding.

    Latin letters are judged here, because a detector needs more of them than a page of German has; charset_normalizer
    detects the other scripts.
    """
    sample = b"\n".join(islice(_around_high_bytes(data), 5000))
    fits = {encoding: _latin_fit(sample, encoding, alphabets) for encoding, alphabets in _ALPHABETS.items()}
    guesses = sorted((encoding for encoding, fit in fits.items() if fit > 0.9), key=lambda encoding: -fits[encoding])
    if not guesses and _latin_fit(sample, "cp1252", [_WESTERN]) > 0.9:
        guesses = ["cp1252"]  # words and names of several languages
    for guess in chain(guesses, _detected(data), ["cp1252"]):
        try:
            return data.decode(guess), guess
        except UnicodeDecodeError:
            continue
    raise Unreadable("has an encoding that is not recognised: save it as UTF-8")


_HIGH_BYTE = re.compile(rb"[\x80-\xff]")


def _around_high_bytes(data: bytes) -> Iterator[bytes]:
    end = 0
    for match in _HIGH_BYTE.finditer(data):
        if match.start() >= end:
            start, end = max(end, match.start() - 40), match.start() + 40
            yield data[start:end]


def _detected(data: bytes) -> Iterator[str]:
    """Guesses of charset_normalizer: from the text around the first byte beyond ASCII, then from everything."""
    from charset_normalizer import from_bytes

    high = _HIGH_BYTE.search(data)
    start = data.rfind(b"\n", 0, high.start() if high else 0) + 1
    for part in (data[start : start + 65536], data):
        best = from_bytes(part).best()
        if best is not None:
            yield best.encoding


_WESTERN = (
    "äöüß àâæçéèêëîïôœùûüÿ áéíóúüñ ãáâàçéêíóôõúü àèéìíîòóùú åäöé æøåéóòôü éèêëïíóöüá áéíóúýþæðö àçèéíïòóúü õäöüšž áéíóú"
)
_ALPHABETS = {
    "cp1252": _WESTERN.split(),
    "cp1250": "ąćęłńóśźż áčďéěíňóřšťúůýž áäčďéíĺľňóôŕšťúýž áéíóöőúüű čćđšž ăâîșțşţ".split(),
    "iso8859_2": "ąćęłńóśźż áčďéěíňóřšťúůýž áéíóöőúüű čćđšž".split(),
    "cp1254": ["çğıöşüâîûi\u0307"],
    "cp1257": "ąčęėįšųūž āčēģīķļņšūž".split(),
    "cp850": _WESTERN.split(),
    "mac_roman": _WESTERN.split(),
}
"""Letters beyond ASCII of the languages written in an encoding; of two equally good fits the first is taken."""

_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_WITHIN_WORDS = frozenset("’·–—-\xad")


def _latin_fit(data: bytes, encoding: str, alphabets: Iterable[str]) -> float:
    """Share of the characters beyond ASCII that occur as in a text with one of these alphabets."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return 0.0
    letters: Counter[str] = Counter()
    good = total = 0
    for match in _BEYOND_ASCII.finditer(text):
        character, start = match[0], match.start()
        before, after = text[start - 1 : start], text[start + 1 : start + 2]
        total += 1
        if character.isalpha() and character not in "ªº":
            third = all(near.isalpha() and not near.isascii() for near in (before, after))
            letters[character.lower()] += not third and not (character.isupper() and before.islower())
        elif character.isprintable() or character == "\xa0":
            opens = character in "‚„¿¡" and before.isalpha()
            good += not opens and not (before.isalpha() and after.isalpha() and character not in _WITHIN_WORDS)
    if letters.total() > 0.5 * sum(map(data.lower().count, b"abcdefghijklmnopqrstuvwxyz")):
        return 0.0  # another script
    known = max(sum(letters[letter] for letter in set(alphabet)) for alphabet in alphabets)
    return (good + known) / total


def noted(encoding: str) -> Metadata:
    """Metadata that names the encoding; empty for UTF-8."""
    return {} if encoding == "utf-8" else {"encoding": encoding}


_HTML_CHARSET = re.compile(rb"<(?:meta[^>]+charset|\?xml[^>]+encoding)=[\"']?\s*([\w-]+)", re.IGNORECASE)

# As in browsers (https://encoding.spec.whatwg.org/#names-and-labels), the older name means the larger set.
_LARGER = {"iso-8859-1": "cp1252", "latin1": "cp1252", "us-ascii": "cp1252", "ascii": "cp1252", "gb2312": "gb18030"}
_LARGER |= {"gbk": "gb18030", "shift_jis": "cp932", "euc-kr": "cp949", "iso-8859-9": "cp1254"}
_ONLY_IN_PYTHON = frozenset({"unicode-escape", "raw-unicode-escape", "punycode", "idna", "undefined"})
"""Encodings that Python knows and browsers do not: they would change the text of a page."""


def decode_html(data: bytes) -> tuple[str, str]:
    """Decode a page; returns the text and its encoding, or "utf-8" if the page names its encoding itself."""
    declared = _HTML_CHARSET.search(data[:4096])
    name = declared[1].decode("ascii").lower() if declared else ""
    if name.replace("_", "-") in _ONLY_IN_PYTHON:
        name = ""
    if not name.startswith("utf") and name and not data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        try:
            if not data.isascii():
                return data.decode("utf-8"), "utf-8"  # text in another encoding is practically never valid UTF-8
        except UnicodeDecodeError:
            if is_mostly_utf8(data) and _LARGER.get(name, name) == "cp1252":
                return data.decode("utf-8", "replace"), _WITH_ERRORS
        try:
            return data.decode(_LARGER.get(name, name)), "utf-8"
        except (LookupError, UnicodeError):
            pass  # pages often name a wrong encoding: look at the bytes instead
    text, encoding = decode(data)
    return text, encoding
