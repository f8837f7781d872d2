"""Names of paragraph styles that office programs and converters give to code."""

from __future__ import annotations

import re

_CODE = re.compile(
    r"(?:source\s*)?code(?:\s*(?:block|text|sample|listing))?|(?:html\s*)?preformatted(?:\s*text)?|(?:code\s*)?listing"
    r"|verbatim|quell(?:text|code)",
    re.IGNORECASE,
)


def is_code_style(name: str) -> bool:
    """Whether the name of a style says that its paragraphs are lines of code."""
    return _CODE.fullmatch(name.strip()) is not None
