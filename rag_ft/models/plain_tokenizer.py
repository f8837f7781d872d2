"""A reader's tokenizer without transformers: what prompts and completions need of it.

Importing transformers' tokenizers imports much of its models, too. This one gives the same ids and texts
(`tests/models/test_plain_tokenizer.py` compares both); for anything else it loads the library's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")
_SETTINGS = {"backend", "is_local", "model_max_length", "tokenizer_class", "clean_up_tokenization_spaces", *_NAMED}
"""Settings that the code below honours; with another one the library decides."""

_OF_THE_LIBRARY = re.compile(r"tojson|raise_exception|strftime_now|generation\b|break|continue|tools|documents")
"""What a chat template may use that transformers adds to Jinja."""


class PlainTokenizer:
    """The tokenizer in a folder, with the methods of transformers' that reading uses."""

    def __init__(self, folder: Path, named: Mapping[str, str], template: str, load: Callable[[], Any]) -> None:
        """`named`: special tokens by their names in the folder's settings; `load` loads the library's tokenizer."""
        from tokenizers import Tokenizer

        self.backend_tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.chat_template = template
        self._named = dict(named)
        self._load = load
        self.eos_token_id: int | None = self._id("eos_token")
        self.pad_token_id: int | None = self._id("pad_token")
        self.all_special_ids = sorted({i for i in map(self._id, named) if i is not None})

    @cached_property
    def library(self) -> Any:
        """The tokenizer of transformers."""
        return self._load()

    def __getattr__(self, name: str) -> Any:
        """What is not below is the library's."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.library, name)

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        """Id → token of those that are found in a text before it is split."""
        return dict(self.backend_tokenizer.get_added_tokens_decoder())

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The ids of a text."""
        return list(self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, ids: Sequence[int] | int, skip_special_tokens: bool = False) -> str:
        """The text of some ids."""
        given = [ids] if isinstance(ids, int) else list(ids)
        return str(self.backend_tokenizer.decode(given, skip_special_tokens=skip_special_tokens))

    def apply_chat_template(
        self,
        messages: Iterable[Mapping[str, str]],
        *,
        tokenize: bool = True,
        add_generation_prompt: bool = False,
        **more: Any,
    ) -> Any:
        """The text of a conversation; token ids are left to the library."""
        if tokenize:
            return self.library.apply_chat_template(list(messages), add_generation_prompt=add_generation_prompt, **more)
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        template = environment.from_string(self.chat_template)
        return template.render(
            messages=list(messages), add_generation_prompt=add_generation_prompt, **self._named, **more
        )

    def _id(self, name: str) -> int | None:
        token = self._named.get(name)
        return None if token is None else self.backend_tokenizer.token_to_id(token)


def load_plain_tokenizer(folder: Path, load: Callable[[], Any]) -> PlainTokenizer | None:
    """The tokenizer in a folder; None where it has a setting that only the library's honours, or cannot be read."""
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
        named = {name: settings[name] for name in _NAMED if settings.get(name) is not None}
        if (
            settings.get("tokenizer_class") not in ("TokenizersBackend", "PreTrainedTokenizerFast")
            or not set(settings) <= _SETTINGS
            or settings.get("clean_up_tokenization_spaces")
            or not all(isinstance(token, str) for token in named.values())
            or _OF_THE_LIBRARY.search(template)
        ):
            return None
        tokenizer = PlainTokenizer(folder, named, template, load)
    except Exception:  # tokenizers raises bare Exception on a broken file; the library says what is wrong
        return None
    added = {token.content for token in tokenizer.added_tokens_decoder.values()}
    return tokenizer if added >= set(named.values()) else None
