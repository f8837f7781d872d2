"""Front matter of Markdown: YAML between lines of `---`, or TOML between lines of `+++`."""

from __future__ import annotations

import re
import sys
from typing import Any, NamedTuple

from rag_ft.indexing.formats.limits import MAX_FRONT_MATTER_CHARS, MAX_FRONT_MATTER_NODES
from rag_ft.schema import Metadata, json_value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_YAML = re.compile(r"\A---[ \t]*\r?\n(.*?)(?:\r?\n)?^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_TOML = re.compile(r"\A\+\+\+[ \t]*\r?\n(.*?)(?:\r?\n)?^\+\+\+[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_FIRST_KEY = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n)*[\"']?[\w.-]+[\"']?[ \t]*:(?:\s|\Z)")

_MAX_ALIASES = 10
"""Maximum aliases in front matter: n of them can grow a text e^(n/e) times, here 40 times; 80 fill the memory."""

_DEEPEST = 50
"""Maximum nesting of front matter: the parser's time grows with its square."""

_TOO_DEEP = "nested too deeply, or within itself"


class FrontMatter(NamedTuple):
    """Metadata of a document, and where its text starts."""

    metadata: Metadata
    end: int


def front_matter(text: str) -> FrontMatter:
    """Read front matter. Only what is a mapping is front matter; anything else stays in the text, which starts at 0.

    A mapping that cannot be kept is left out of the text, and `front_matter_error` in the metadata says why.
    """
    if (block := _YAML.match(text)) is not None:
        metadata = _yaml(block[1])
    elif (block := _TOML.match(text)) is not None:
        metadata = _toml(block[1])
    else:
        return FrontMatter({}, 0)
    return FrontMatter({}, 0) if metadata is None else FrontMatter(metadata, block.end())


def _toml(text: str) -> Metadata | None:
    if len(text) > MAX_FRONT_MATTER_CHARS:
        return {"front_matter_error": f"longer than {MAX_FRONT_MATTER_CHARS:,} characters"}
    try:
        return {str(key): json_value(value) for key, value in tomllib.loads(text).items()}
    except RecursionError:
        return {"front_matter_error": _TOO_DEEP}
    except ValueError:
        return None


def _yaml(text: str) -> Metadata | None:
    """The mapping, the reason why a mapping cannot be kept, or None if the text is not a mapping."""
    import yaml

    if not text.strip():
        return {}
    if len(text) > MAX_FRONT_MATTER_CHARS:
        too_long: Metadata = {"front_matter_error": f"longer than {MAX_FRONT_MATTER_CHARS:,} characters"}
        return too_long if _FIRST_KEY.match(text) else None
    try:
        aliases = depth = nodes = 0
        for event in yaml.parse(text, yaml.SafeLoader):  # parsed lazily, so that excess stops it early
            if nodes == 0 and isinstance(event, yaml.NodeEvent) and not isinstance(event, yaml.MappingStartEvent):
                return None
            aliases += isinstance(event, yaml.AliasEvent)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if aliases > _MAX_ALIASES:
                return {"front_matter_error": f"more than {_MAX_ALIASES} aliases"}
            nodes += isinstance(event, yaml.NodeEvent)
            if nodes > MAX_FRONT_MATTER_NODES:
                return {"front_matter_error": f"more than {MAX_FRONT_MATTER_NODES:,} keys and values"}
            if depth > _DEEPEST:
                return {"front_matter_error": _TOO_DEEP}
    except RecursionError:
        return {"front_matter_error": _TOO_DEEP}
    except yaml.YAMLError:
        return None  # whatever it is, it stays in the text
    if nodes == 0:
        return None
    try:
        loaded = yaml.load(text, _loader())
        return {str(key): json_value(value) for key, value in loaded.items()} if isinstance(loaded, dict) else {}
    except RecursionError:
        return {"front_matter_error": _TOO_DEEP}
    except Exception as error:  # YAMLError, and ValueError, KeyError or AttributeError of constructors
        # The page is kept even if its front matter is broken.
        return {"front_matter_error": (str(error).splitlines() or ["unreadable"])[0]}


def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        def date_or_text(self, node: yaml.ScalarNode) -> Any:
            try:
                return self.construct_yaml_timestamp(node)
            except ValueError:  # a day that no calendar has
                return self.construct_scalar(node)

    Loader.add_constructor("tag:yaml.org,2002:timestamp", Loader.date_or_text)
    return Loader
