"""Which elements of a page a reader sees, and which are no part of what the page says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

NO_TEXT = frozenset(
    "script style noscript template head datalist video audio canvas iframe rp -comment -doctype".split()
)
"""Elements that browsers do not show as text."""

_HIDDEN_STYLE = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse))\b", re.IGNORECASE)
_BLOCK_STYLE = re.compile(r"(?:^|;)\s*display\s*:\s*(?:block|flex|grid|table|list-item)\b", re.IGNORECASE)
_RAISED_STYLE = re.compile(r"(?:^|;)\s*vertical-align\s*:\s*(super|sub)\b", re.IGNORECASE)
_OPENED_LATER = frozenset({"tabpanel", "doc-footnote", "doc-endnote"})
_NOTE_TYPES = re.compile(r"\b(?:foot|end|rear)notes?\b")

_BANNER = re.compile(
    r"(?:^|\s)(?:onetrust|cookiebot|cybotcookiebotdialog|cc-(?:window|banner)|(?:cookies?|gdpr|consent)[-_]?"
    r"(?:banner|bar|box|consent|dialog|info|law|message|modal|notice|notification|overlay|popup|wall))",
    re.IGNORECASE,
)
_GUTTER = re.compile(r"(?:^|\s)(?:linenos?|linenodiv|gutter|rouge-gutter|line-numbers(?:-rows)?|lnt|ln)(?:\s|$)")
_DRAWN_MATHS = re.compile(r"(?:^|\s)(?:katex-html|MathJax_(?:Preview|CHTML|SVG|Display)?)(?:\s|$)")
_ICON = re.compile(r"(?:^|\s|[-_])(?:icons?|fa|fas|far|glyphicon|material-symbols\S*|material-icons\S*)(?:\s|$|[-_])")
_NAVIGATION_ROLES = frozenset({"navigation", "search", "menubar"})


def is_hidden(tag: str, attributes: Mapping[str, str | None]) -> bool:
    """Whether a browser does not show an element, or shows it as decoration only.

    What a click shows stays: `<details>`, tab panels, pop-up notes. `aria-hidden` hides from screen readers what others
    see: only icons, signs without letters, and formulas that stand there as MathML, too, are left out.
    """
    if "hidden" in attributes or _HIDDEN_STYLE.search(attributes.get("style") or ""):
        if (attributes.get("hidden") or "").lower() == "until-found" and "style" not in attributes:
            return False
        kind = f"{attributes.get('role') or ''} {attributes.get('epub:type') or ''}"
        return not (_OPENED_LATER & set(kind.split()) or _NOTE_TYPES.search(kind))
    return tag == "dialog" and "open" not in attributes


def is_decoration(node: Any, attributes: Mapping[str, str | None]) -> bool:
    """Whether an element marked `aria-hidden` is an icon, a sign without letters, or a drawn formula."""
    if (attributes.get("aria-hidden") or "").lower() != "true":
        return False
    classes = attributes.get("class") or ""
    if _DRAWN_MATHS.search(classes) or node.tag in ("mjx-math", "svg") or _ICON.search(classes):
        return True
    return len(list(node.iter())) == 0 and not any(character.isalnum() for character in node.text())


def is_navigation(tag: str, attributes: Mapping[str, str | None]) -> bool:
    """Whether an element leads to other pages or asks for consent instead of saying something."""
    if tag == "nav" or (attributes.get("role") or "") in _NAVIGATION_ROLES:
        return True
    names = f"{attributes.get('id') or ''} {attributes.get('class') or ''}"
    return len(names) > 1 and (_BANNER.search(names) is not None or "mw-editsection" in names)


def is_gutter(attributes: Mapping[str, str | None]) -> bool:
    """Whether an element holds the line numbers beside code."""
    classes = attributes.get("class") or ""
    return bool(classes) and _GUTTER.search(classes) is not None


def is_block_by_style(attributes: Mapping[str, str | None]) -> bool:
    """Whether an inline element is shown as a block."""
    return _BLOCK_STYLE.search(attributes.get("style") or "") is not None


def script_of(tag: str, attributes: Mapping[str, str | None]) -> str:
    """`sup` or `sub` for an element that is raised or lowered, else an empty string."""
    if tag in ("sup", "sub"):
        return tag
    style = attributes.get("style")
    raised = _RAISED_STYLE.search(style) if style else None
    return "" if raised is None else "sup" if raised[1].lower() == "super" else "sub"
