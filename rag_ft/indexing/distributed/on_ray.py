"""Blocks of files read, cut and embedded by the workers of a Ray cluster, as one pipeline of Ray Data.

A worker does all three for a block, so that its death repeats one block at most, and a GPU is filled by several
workers on it. Ray Data hands out blocks, restarts workers that died, gives their blocks out again, and holds the
workers back where this process, which keeps the results, is slower. Its own checkpoints are not used: they need
storage that the whole cluster sees, and do not notice that a file has changed.
"""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from rag_ft.cluster import Cluster
from rag_ft.errors import EngineError, RagFtError, UsageError, first_line
from rag_ft.indexing.distributed.blocks import BlockPart, BlockWork, FileBlock
from rag_ft.indexing.distributed.reader import BlockReader
from rag_ft.indexing.storage.journal import KEY_BYTES

MOST_DEATHS = 3
"""Workers that may die over the same block, after which the block is to blame."""
_IN_HAND = 1
"""Blocks that a worker has: one that waits for its turn would be blamed, too, if the worker died."""
_ADVICE = "\nFailed to apply UDF"
"""Begins what Ray Data adds to the message of an error in a worker."""
_ALONE = 1
"""Bytes of results after which they are handed on: any, so each part comes alone and at once."""


class RayBuild:
    """A `BuildEngine` on a Ray cluster; its workers end with each build.

    `address`: host:port of a running cluster, or `auto`; None: the one in RAY_ADDRESS, else a cluster of this machine's
    processors, which ends with the build. `workers`: None stands for as many as the cluster has room for. The machines
    of the cluster must have this package and see the source and the embedder. Raises MissingExtraError, UsageError.
    """

    def __init__(
        self, *, address: str | None = None, workers: int | None = None, cpus: float = 1, gpus: float = 0
    ) -> None:
        """`cpus`, `gpus`: what each worker needs of the cluster; several workers may share a GPU."""
        self._cluster = Cluster("building on a Ray cluster", address, workers, cpus=cpus, gpus=gpus)

    def parts(self, work: BlockWork, blocks: Sequence[FileBlock]) -> Generator[BlockPart, None, None]:
        """Each block's parts, as the workers finish them. Raises EngineError, and what reading and embedding raise."""
        self._cluster.connect()
        try:
            with _quiet(), _as_one_sentence(self._cluster.ray):
                for batch in self._results(work, blocks):
                    for row in range(len(batch)):
                        yield _part_of({name: batch[name][row].as_py() for name in batch.column_names})
        finally:
            self._cluster.disconnect()

    def _results(self, work: BlockWork, blocks: Sequence[FileBlock]) -> Iterator[Any]:
        """The pipeline's results, as tables of Arrow."""
        import ray.data
        from ray.util.annotations import RayDeprecationWarning

        workers = min(self._cluster.room(), len(blocks))
        context = ray.data.DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.target_max_block_size = _ALONE
        try:
            sent = ray.put(work)
        except (TypeError, AttributeError) as error:
            raise UsageError(
                f"the embedder cannot be sent to workers ({first_line(error)}): give its name or folder"
            ) from error
        with ray.data.DataContext.current(context):
            given = ray.data.from_items(
                [{"block": pickle.dumps(block)} for block in blocks], override_num_blocks=len(blocks)
            )
            with warnings.catch_warnings():
                # `max_task_retries` gets another place in Ray 2.64, which pyproject.toml excludes
                warnings.simplefilter("ignore", RayDeprecationWarning)
                results = given.map_batches(
                    _Worker,
                    fn_constructor_args=(sent,),
                    batch_size=None,
                    batch_format="pyarrow",
                    compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=_IN_HAND),
                    num_cpus=self._cluster.cpus,
                    num_gpus=self._cluster.gpus,
                    max_task_retries=MOST_DEATHS - 1,  # else until some worker survives the block
                )
            yield from results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


class _Worker:
    """What runs on the cluster: a reader of blocks, with an embedder that is loaded when it is first needed."""

    def __init__(self, work: Any) -> None:
        import ray

        given: BlockWork = ray.get(work)
        with suppress(OSError):  # where it is not to be seen, the source is not either, and that is said
            os.chdir(given.folder)
        self._reader = BlockReader(given)

    def __call__(self, batch: Any) -> Iterator[Any]:
        import pyarrow

        for block in batch["block"]:
            for part in self._reader.parts(pickle.loads(block.as_py())):
                yield pyarrow.Table.from_pylist([_row_of(part)])


def _row_of(part: BlockPart) -> dict[str, Any]:
    """A part as Arrow holds it."""
    return {
        **part._asdict(),
        "keys": b"".join(part.keys),
        "dimension": part.vectors.shape[1],
        "vectors": np.ascontiguousarray(part.vectors, dtype=np.float32).tobytes(),
    }


def _part_of(row: dict[str, Any]) -> BlockPart:
    """The part that `_row_of` encoded."""
    keys = tuple(row["keys"][start : start + KEY_BYTES] for start in range(0, len(row["keys"]), KEY_BYTES))
    vectors = np.frombuffer(row["vectors"], dtype=np.float32).reshape(len(keys), row.pop("dimension"))
    return BlockPart(**{**row, "keys": keys, "vectors": vectors})


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray Data off the terminal, where it logs each failure with its traceback; its log file stays."""
    import ray.data  # noqa: F401  installs its handlers
    from ray._private.log import PlainRayHandler

    handlers = [
        (handler, handler.level)
        for handler in logging.getLogger("ray.data").handlers
        if isinstance(handler, PlainRayHandler)
    ]
    for handler, _ in handlers:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for handler, level in handlers:
            handler.setLevel(level)


@contextmanager
def _as_one_sentence(ray: Any) -> Iterator[None]:
    """Raise what went wrong on a worker as itself if it is one of ours, and else as an EngineError."""
    try:
        yield
    except Exception as error:  # Ray raises errors of many kinds, some of which are of two
        found = _sentence_for(ray, error)
        if found is error:
            raise
        raise found from (None if found in _chain(error) else error)


def _sentence_for(ray: Any, error: BaseException) -> BaseException:
    chain = _chain(error)
    causes = [found for found in chain if not isinstance(found, ray.exceptions.RayTaskError)]
    for found in causes:
        if found.args and isinstance(found.args[0], str):
            found.args = (found.args[0].partition(_ADVICE)[0], *found.args[1:])
        if isinstance(found, RagFtError):
            return found
    if not any(isinstance(found, ray.exceptions.RayError) for found in chain):
        return error  # of this process
    for found in chain:
        if isinstance(found, ray.exceptions.OutOfMemoryError | ray.exceptions.RayActorError):
            return EngineError(
                f"{MOST_DEATHS} workers died over the same files ({type(found).__name__}): give workers more memory or"
                " take out the file that needs it, then run the same command again, which resumes"
            )
    cause = causes[-1] if causes else error
    return EngineError(
        f"a worker failed ({type(cause).__name__}: {first_line(cause)}): see its log on the cluster, then run the same"
        " command again, which resumes"
    )


def _chain(error: BaseException) -> list[BaseException]:
    """An error, what it was raised from, and so on."""
    chain: list[BaseException] = []
    reason: BaseException | None = error
    while reason is not None and reason not in chain:
        chain.append(reason)
        reason = getattr(reason, "cause", None) or reason.__cause__ or reason.__context__
    return chain
