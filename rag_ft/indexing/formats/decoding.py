"""Bytes → text, in the encoding that a mark, the page itself or else the letters tell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.schema import Metadata


def decode(data: bytes) -> tuple[str, str]:
    """The text of bytes in an unknown encoding, and the encoding's name. Raises Unreadable for what is not text."""
    for mark, encoding in (
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe\x00\x00", "utf-32"),
        (b"\x00\x00\xfe\xff", "utf-32"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if data.startswith(mark):
            try:
                return data.decode(encoding), encoding
            except UnicodeDecodeError as error:
                raise Unreadable(f"begins as {encoding} but is not") from error
    sample = data[:65536]
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in sample)
    if b"\0" in sample or control * 50 > len(sample):
        raise Unreadable("holds binary data, not text")
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    return _decode_by_guess(data)


def _decode_by_guess(data: bytes) -> tuple[str, str]:
    """Text in an older encoding. Latin letters are weighed here, as a detector needs more of them than a page of German
    has; charset_normalizer tells the other scripts apart.
    """
    mended = data.decode("utf-8", "replace")
    wrong = mended.count("\ufffd")
    if len(data) - len(mended) > 20 * wrong:  # each longer character is at least one byte more than a character
        return mended, "utf-8 with errors"
    sample = b"\n".join(islice(_around_high_bytes(data), 5000))
    fits = {encoding: _latin_fit(sample, encoding, alphabets) for encoding, alphabets in _ALPHABETS.items()}
    guesses = sorted((encoding for encoding, fit in fits.items() if fit > 0.9), key=lambda one: -fits[one])
    if not guesses and _latin_fit(sample, "cp1252", [_WESTERN]) > 0.9:
        guesses = ["cp1252"]  # words and names of several languages
    for guess in chain(guesses, _detected(data), ["cp1252"]):
        try:
            return data.decode(guess), guess
        except UnicodeDecodeError:
            continue
    raise Unreadable("is in no encoding that can be recognised: save it as UTF-8")


_HIGH_BYTE = re.compile(rb"[\x80-\xff]")


def _around_high_bytes(data: bytes) -> Iterator[bytes]:
    end = 0
    for found in _HIGH_BYTE.finditer(data):
        if found.start() >= end:
            start, end = max(end, found.start() - 40), found.start() + 40
            yield data[start:end]


def _detected(data: bytes) -> Iterator[str]:
    """charset_normalizer's guesses: from what stands around the first byte beyond ASCII, then from everything."""
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
"""Letters beyond ASCII of the languages written in an encoding; of two that fit as well the first is taken."""

_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_WITHIN_WORDS = frozenset("’·–—-\xad")


def _latin_fit(data: bytes, encoding: str, alphabets: Iterable[str]) -> float:
    """The share of the characters beyond ASCII that stand where a text with one of these alphabets has them."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return 0.0
    letters: Counter[str] = Counter()
    good = total = 0
    for found in _BEYOND_ASCII.finditer(text):
        one, start = found[0], found.start()
        before, after = text[start - 1 : start], text[start + 1 : start + 2]
        total += 1
        if one.isalpha() and one not in "ªº":
            third = all(near.isalpha() and not near.isascii() for near in (before, after))
            letters[one.lower()] += not third and not (one.isupper() and before.islower())
        elif one.isprintable() or one == "\xa0":
            opens = one in "‚„¿¡" and before.isalpha()
            good += not opens and not (before.isalpha() and after.isalpha() and one not in _WITHIN_WORDS)
    if letters.total() > 0.5 * sum(map(data.lower().count, b"abcdefghijklmnopqrstuvwxyz")):
        return 0.0  # another script
    known = max(sum(letters[one] for one in set(alphabet)) for alphabet in alphabets)
    return (good + known) / total


def noted(encoding: str) -> Metadata:
    """Metadata naming the encoding, where it is not UTF-8."""
    return {} if encoding == "utf-8" else {"encoding": encoding}


_HTML_CHARSET = re.compile(rb"<(?:meta[^>]+charset|\?xml[^>]+encoding)=[\"']?\s*([\w-]+)", re.IGNORECASE)

# As browsers do (https://encoding.spec.whatwg.org/#names-and-labels): the older name stands for the larger set.
_LARGER = {"iso-8859-1": "cp1252", "latin1": "cp1252", "us-ascii": "cp1252", "ascii": "cp1252", "gb2312": "gb18030"}
_LARGER |= {"gbk": "gb18030", "shift_jis": "cp932", "euc-kr": "cp949", "iso-8859-9": "cp1254"}
_OF_PYTHON_ALONE = frozenset({"unicode-escape", "raw-unicode-escape", "punycode", "idna", "undefined"})
"""Encodings that Python knows and no browser: a page's words would be read as something else."""


def decode_html(data: bytes) -> tuple[str, str]:
    """The text of a page, and its encoding; "utf-8" too where the page itself says which."""
    declared = _HTML_CHARSET.search(data[:4096])
    name = declared[1].decode("ascii").lower() if declared else ""
    if name.replace("_", "-") in _OF_PYTHON_ALONE:
        name = ""
    if not name.startswith("utf") and name and not data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        try:
            if not data.isascii():
                return data.decode("utf-8"), "utf-8"  # which other encodings never are by chance
        except UnicodeDecodeError:
            pass
        try:
            return data.decode(_LARGER.get(name, name)), "utf-8"
        except (LookupError, UnicodeError):
            pass  # the page's own word is wrong often enough: look at the bytes instead
    text, encoding = decode(data)
    return text, encoding
