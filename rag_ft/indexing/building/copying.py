"""An index copied to another folder, where it replaces an index atomically."""

from __future__ import annotations

import shutil
from pathlib import Path

from rag_ft.errors import IndexFormatError, IndexMissingError, IndexStoreError
from rag_ft.files import require_space, sync_tree
from rag_ft.indexing.sources.original import Original
from rag_ft.indexing.storage.generation import Generation
from rag_ft.indexing.storage.originals import Originals
from rag_ft.indexing.storage.store import IndexStore, check_files

_COPY_BYTES = 4 * 1024 * 1024
_KEPT = "no part of the copy was kept"


def copy_index(generation: Generation, index_path: Path, target: IndexStore, *, lock_timeout_s: float) -> None:
    """Copy a state of the index at `index_path`: see `Index.save`."""
    manifest = generation.manifest
    source = IndexStore(index_path).originals
    with target.writing(lock_timeout_s, _KEPT):
        _copy_originals(generation, source, target.originals)
        if _is_copy(generation, target):
            # A save that was killed may have left what it replaced.
            target.sweep(target.committed_generation(), journal=True)
            _copy_feedback(generation, index_path, target, lock_timeout_s)
            return
        needed = sum(entry.size for entry in manifest.files.values())
        require_space(target.path, needed, error=IndexStoreError, kept=_KEPT)
        folder = target.new_generation()
        _copy_files(generation, index_path, folder)
        check_files(folder, manifest.files, level="full")
        sync_tree(folder)
        target.commit(manifest.model_copy(update={"generation": folder.name}))
        _copy_feedback(generation, index_path, target, lock_timeout_s)


def _copy_originals(generation: Generation, source: Originals, target: Originals) -> None:
    """Copy the originals that a state names, as far as they are there."""
    for sha256 in sorted({row.original for row in generation.table} - {""}):
        if (path := source.path(sha256)) is not None:
            target.keep(Original(sha256, path))


def _copy_feedback(generation: Generation, index_path: Path, target: IndexStore, lock_timeout_s: float) -> None:
    """Add the feedback on the documents of a state to what the target has; of the same vote, the copied one stays."""
    documents = set(generation.position_of)
    copied = [entry for entry in IndexStore(index_path).feedback.read() if entry.documents <= documents]
    names = {entry.id for entry in copied}
    if copied:
        target.feedback.change(
            lambda present: [*(entry for entry in present if entry.id not in names), *copied], lock_timeout_s
        )


def _is_copy(generation: Generation, target: IndexStore) -> bool:
    """Whether the target holds this very state, byte for byte. Raises IndexFormatError if a newer rag_ft wrote it."""
    try:
        manifest = target.read_manifest()
        if manifest.model_copy(update={"generation": generation.manifest.generation}) != generation.manifest:
            return False
        check_files(target.generations / manifest.generation, manifest.files, level="full")
    except IndexFormatError:
        raise
    except (IndexStoreError, OSError):
        return False
    return True


def _copy_files(generation: Generation, index_path: Path, folder: Path) -> None:
    """Copy the files that the manifest names, and nothing else."""
    for name in generation.manifest.files:
        try:
            file = (generation.folder / name).open("rb")
        except FileNotFoundError as error:
            raise IndexMissingError(
                f"the index at {index_path} was changed by another process: load it again, then save"
            ) from error
        with file:
            (folder / name).parent.mkdir(exist_ok=True)
            with (folder / name).open("wb") as copy:
                shutil.copyfileobj(file, copy, _COPY_BYTES)
