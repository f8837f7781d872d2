"""Characters of the fonts Symbol, Wingdings and Wingdings 2, which stand for others than their codes say."""

from __future__ import annotations

_SYMBOL_UPPER = " !∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼"
"""From 0x20."""
_SYMBOL_LOWER = "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…⏐⎯↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊〈®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪\uf8ff〉∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭"
"""From 0xA0."""

SYMBOL = {0x20 + index: character for index, character in enumerate(_SYMBOL_UPPER)}
SYMBOL |= {0xA0 + index: character for index, character in enumerate(_SYMBOL_LOWER)}

WINGDINGS = {
    0x22: "✂",
    0x28: "☎",
    0x29: "✆",
    0x2A: "✉",
    0x36: "⌛",
    0x3F: "✍",
    0x41: "✌",
    0x45: "☜",
    0x46: "☞",
    0x47: "☝",
    0x48: "☟",
    0x4A: "☺",
    0x4C: "☹",
    0x4E: "☠",
    0x51: "✈",
    0x52: "☼",
    0x54: "❄",
    0x6C: "●",
    0x6E: "■",
    0x6F: "☐",
    0x71: "❑",
    0x72: "❒",
    0x75: "◆",
    0x76: "❖",
    0x77: "⬥",
    0x78: "☒",
    0x80: "⓪",
    0x8B: "⓿",
    0x9E: "·",
    0x9F: "•",
    0xA1: "○",
    0xA7: "▪",
    0xA8: "☐",
    0xAB: "★",
    0xD8: "➢",
    0xDF: "←",
    0xE0: "→",
    0xE1: "↑",
    0xE2: "↓",
    0xE3: "↖",
    0xE4: "↗",
    0xE5: "↙",
    0xE6: "↘",
    0xE7: "←",
    0xE8: "➔",
    0xE9: "↑",
    0xEA: "↓",
    0xEF: "⇦",
    0xF0: "⇨",
    0xF1: "⇧",
    0xF2: "⇩",
    0xF3: "⇔",
    0xF4: "⇕",
    0xFB: "✗",
    0xFC: "✓",
    0xFD: "☒",
    0xFE: "☑",
}
WINGDINGS |= {0x81 + index: chr(0x2460 + index) for index in range(10)}
WINGDINGS |= {0x8C + index: chr(0x2776 + index) for index in range(10)}
WINGDINGS |= {0x5E + index: chr(0x2648 + index) for index in range(12)}

WINGDINGS_2 = {0x4F: "✗", 0x50: "✓", 0x51: "☒", 0x52: "☑", 0x53: "☒", 0x54: "☒", 0x97: "●", 0x98: "●", 0xA3: "☐"}
WINGDINGS_2 |= {0xA2: "■", 0x30: "☐"}

_FONTS = {"symbol": SYMBOL, "wingdings": WINGDINGS, "wingdings 2": WINGDINGS_2}


def symbol(code: str, font: str) -> str:
    """The character of a font's code, such as "F0B3" in Symbol; "" for one without a meaning outside of its font."""
    try:
        number = int(code[:8], 16)
    except ValueError:
        return ""
    table = _FONTS.get(font.strip().casefold())
    if table is not None and (number < 0x100 or 0xF000 <= number < 0xF100):
        return table.get(number & 0xFF, "").replace("\uf8ff", "")
    if 0xE000 <= number < 0xF900 or number < 0x20 or number > 0x10FFFF or 0xD800 <= number < 0xE000:
        return ""
    return chr(number)


def without_private(text: str, font: str) -> str:
    """Text with the characters that belong to a symbol font written as what they show."""
    if text.isascii() or not any("\uf020" <= character <= "\uf0ff" for character in text):
        return text
    named = font if font.strip().casefold() in _FONTS else "Symbol"
    return "".join(
        symbol(f"{ord(character):X}", named) if "\uf020" <= character <= "\uf0ff" else character for character in text
    )
