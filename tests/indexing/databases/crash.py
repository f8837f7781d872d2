"""A process that changes an index in a database, to be killed. Arguments: address, change, first and last version."""

from __future__ import annotations

import sys

from fakes import HashingEmbedder
from small_indexes import CHUNKING, document

from rag_ft.indexing.databases.index import DatabaseIndex
from rag_ft.indexing.index import Index

NAMES = [f"{name}{i}.md" for name in "abcdef" for i in range(4)]


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def documents(version: int) -> list:
    """The documents of a version: most change, some go, some come."""
    names = [name for i, name in enumerate(NAMES) if (i + version) % 5]
    return [document(name, version if i % 3 else 0) for i, name in enumerate(names)]


def main() -> None:
    address, change = sys.argv[1:3]
    if change == "build":
        version = int(sys.argv[3])
        say("started")
        DatabaseIndex.create(
            documents(version),
            address,
            embedder=HashingEmbedder(),
            chunking=CHUNKING,
            progress=False,
            lock_timeout_s=60,
        )
    else:
        index = Index.load(address, embedder=HashingEmbedder())
        say("started")
        for i in range(int(sys.argv[3])):
            index.add([document(f"{change}-{i}.md")], progress=False, lock_timeout_s=120)
    say("ended")


if __name__ == "__main__":
    main()
