"""LoRA training on trl's `SFTTrainer`: shared-context rows, the output head at labels only, safe restarts."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from rag_ft.errors import TrainingError, first_line
from rag_ft.files import disk_full, free_bytes, is_disk_full, remove_tree
from rag_ft.models.compute import autocast, product_type
from rag_ft.training.data.collator import IGNORE_INDEX, Collator, Row
from rag_ft.training.folder import (
    BEST,
    CHECKPOINTS,
    LAST,
    METRICS,
    checkpoints_of,
    is_over,
    measured_best,
    newest_checkpoint,
    read_end,
    remove_broken,
    step_of_checkpoint,
    write_end,
)
from rag_ft.training.saving import step_of
from rag_ft.training.steps.config import TrainConfig
from rag_ft.training.steps.setup import load_adapter, main_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import TrainerCallback

log = logging.getLogger(__name__)


class RowTrainerMixin:
    """Loss over labelled positions alone, each label counted once a step."""

    head_dtype: Any = None
    """Type that the output head's loss is computed in by `fused.head_loss`; None: by the model's own code."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean cross-entropy over the labelled tokens of the step (of the batch in evaluation); no logits are kept."""
        labels = inputs.pop("labels")
        inputs.pop("_prediction_loss_only", None)  # a note of some versions of trl to itself
        loss, count = labelled_loss(model, inputs, labels, self.head_dtype)
        mean = loss / (count if num_items_in_batch is None else num_items_in_batch)
        return (mean, {}) if return_outputs else mean


def labelled_loss(model: Any, inputs: dict[str, Any], labels: Any, head_dtype: Any = None) -> tuple[Any, int]:
    """Sum of the cross-entropy over labelled tokens, and how many they are.

    The output head, wider than all other layers together in small models, sees only the positions that predict a
    labelled token. A label stands at its token: the position before predicts it. With `head_dtype` head and loss are
    one piece of code (`fused.head_loss`) instead of the model's own.
    """
    import torch

    from rag_ft.training.steps.fused import head_loss

    wanted = labels[:, 1:] != IGNORE_INDEX  # (B, T - 1)
    targets = labels[:, 1:][wanted]  # (N,)
    with _head_at(model, wanted, passed_by=head_dtype is not None) as head:
        logits = model(**inputs, use_cache=False).logits  # (N, V), or (N, H) where the head is passed by
    if head_dtype is not None:
        loss = head_loss(logits, head.weight, targets, head_dtype)
    else:
        loss = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")
    return loss, int(targets.numel())


@contextmanager
def _head_at(model: Any, wanted: Any, *, passed_by: bool) -> Iterator[Any]:
    """While this lasts, the output head gets hidden states (N, H) of the wanted positions instead of (B, T, H), or,
    passed by, gives them as they are.
    """
    base = getattr(model, "module", model)  # under DistributedDataParallel
    head = base.get_output_embeddings()

    def pick(_module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = args[0]
        return (hidden[:, :-1][wanted], *args[1:])

    handle = head.register_forward_pre_hook(pick)
    if passed_by:
        head.forward = lambda hidden: hidden
    try:
        yield head
    finally:
        handle.remove()
        if passed_by:
            del head.forward


def run(
    model: Any,
    tokenizer: Any,
    train_rows: Sequence[Row],
    held_out_rows: Sequence[Row],
    config: TrainConfig,
    output: Path,
    *,
    shared: bool = True,
    callbacks: Sequence[TrainerCallback] = (),
    on_progress: Callable[[dict[str, float]], None] | None = None,
) -> list[dict[str, float]]:
    """Train, going on from the newest whole checkpoint in `output`; the measurements, also in `metrics.jsonl`.

    `shared`: whether the rows are trees, as `pack` made them. The adapter with the lowest held-out loss is in
    `output/best`. Where the last step is done already nothing is trained: `end.json` says so, or a checkpoint of that
    step. Raises TrainingError, UsageError for a link in place of what a run writes.
    """
    from trl import SFTConfig, SFTTrainer

    from datasets import Dataset
    from rag_ft.training.steps.callbacks import BestAdapter, Checks, Pace, Progress, TimedCheckpoints, write_adapter
    from rag_ft.training.steps.fused import fused
    from rag_ft.training.steps.tree_attention import trees

    on_cpu = next(model.parameters()).device.type == "cpu"
    dtype = product_type(on_cpu)
    with warnings.catch_warnings():
        # trl sets gradient_checkpointing, which transformers 5.24 calls by another name.
        warnings.simplefilter("ignore", FutureWarning)
        arguments = _arguments(SFTConfig, config, output, on_cpu)
    if arguments.n_gpu > 1:
        # Transformers would split each batch between the devices of one process, and a row cannot be split.
        log.warning(
            "one of %d GPUs is used: start the command with `accelerate launch` for all of them", arguments.n_gpu
        )
        arguments._n_gpu = 1

    class RowTrainer(RowTrainerMixin, SFTTrainer):  # type: ignore[misc]  # trl is untyped
        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            from transformers import Trainer

            Trainer.log(self, logs, start_time)  # trl's own metrics need the logits that are not made here

    output.mkdir(parents=True, exist_ok=True)
    each = config.rows_per_step / len(train_rows)
    pace = Pace(
        each * sum(len(row.records) for row in train_rows), each * sum(len(row.input_ids) for row in train_rows)
    )
    progress = Progress(output / METRICS, on_progress, pace, writes=main_process())
    train = Dataset.from_list([row._asdict() for row in train_rows])
    held_out = Dataset.from_list([row._asdict() for row in held_out_rows]) if held_out_rows else None
    checkpoints = TimedCheckpoints(config.checkpoint_minutes, config.evaluations, held_out is not None)
    learned = {one: one.data for one in model.parameters() if one.requires_grad}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # trl asks transformers 5.24 by names that it deprecates
        trainer = RowTrainer(
            model=model,
            args=arguments,
            train_dataset=train,
            eval_dataset=held_out,
            processing_class=tokenizer,
            data_collator=Collator(tokenizer.pad_token_id, shared=shared, dtype=str(dtype).removeprefix("torch.")),
            callbacks=[
                checkpoints,
                progress,
                BestAdapter(output / BEST, config.patience, progress),
                Checks(),
                *callbacks,
            ],
        )
    # Over packed weights trl rounds the adapter to bfloat16, where a step of less than some 0.3% of a value is lost. It
    # learns in 32 bits here.
    for one, value in learned.items():
        one.data = value
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    ended = read_end(output)
    resumed = newest_checkpoint(output, remove=main_process()) if ended is None else None
    if resumed is not None and measured_best(output, step_of_checkpoint(resumed)) and not (output / BEST).is_dir():
        log.warning("%s is gone: starting from the beginning", output / BEST)
        resumed = None
    trainer.accelerator.wait_for_everyone()  # before one of them changes what the others look at
    try:
        progress.resume(ended or (step_of_checkpoint(resumed) if resumed else 0))
        if ended is not None:
            load_adapter(model, output / (LAST if (output / LAST).is_dir() else BEST))
            return progress.history
        if resumed is None and main_process():
            for name in (BEST, LAST):
                remove_tree(output / name, inside=output)
        if resumed is not None and is_over(resumed, progress.history, config.max_steps, config.patience):
            load_adapter(model, resumed)
            step = step_of_checkpoint(resumed)
        else:
            with (
                _interrupts(checkpoints.stop),
                fused(model, dtype) as parts,
                trees(model.get_base_model()) if shared else nullcontext(),
            ):
                trainer.head_dtype = dtype if parts.head else None
                trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
            step = trainer.state.global_step
            if checkpoints.stopped and any(step_of_checkpoint(kept) == step for kept in checkpoints_of(output)):
                raise KeyboardInterrupt  # the step in hand is done and kept; asked later, the run is over anyway
        if main_process():
            if held_out is None:
                write_adapter(model, output / BEST, {"step": float(step)})
            elif step_of(output / BEST) != step:
                write_adapter(model, output / LAST, {"step": float(step)})
            else:
                remove_tree(output / LAST, inside=output)
            write_end(output, step)
    except (OSError, RuntimeError, SafetensorError) as error:
        told = _not_kept(error, output, trainer.state.global_step)
        if told is None:
            raise
        raise told from error
    trainer.accelerator.wait_for_everyone()  # all of them read what one has written
    return progress.history


_NEXT_TO_NOTHING = 1_000_000
"""Free bytes of a disk that a write has just filled."""


_TORCH_WRITES = ("PytorchStreamWriter", "unexpected pos")
"""In torch's errors of a write, which do not say why it failed."""


def _not_kept(error: Exception, output: Path, step: int) -> TrainingError | None:
    """What to say of an error in a run, where it is about writing; a checkpoint that was cut by it is removed."""
    reason = first_line(error)
    if not isinstance(error, OSError | SafetensorError) and not any(words in reason for words in _TORCH_WRITES):
        return None
    full = is_disk_full(error) or free_bytes(output) < _NEXT_TO_NOTHING
    if main_process():
        for checkpoint in checkpoints_of(output):
            remove_broken(checkpoint, output)
    kept = f"step {step} could not be kept; the run goes on from its newest whole checkpoint"
    if full:
        return TrainingError(disk_full(output, kept))
    return TrainingError(
        f"step {step} could not be kept in {output} ({reason}): free some space and run the same command, which goes"
        " on from the newest whole checkpoint"
    )


@contextmanager
def _interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C asks the run to stop after the step in hand, so that what is kept can be gone on from exactly; a second
    one stops at once. Outside the main thread nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def first(_number: int, _frame: Any) -> None:
        signal.signal(signal.SIGINT, before)
        stop()

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _arguments(kind: Any, config: TrainConfig, output: Path, on_cpu: bool) -> Any:
    """Trl's own settings; our rows come ready, so that its preparation and its cutting are off."""
    half = autocast(on_cpu)
    return kind(
        output_dir=str(output / CHECKPOINTS),
        num_train_epochs=config.epochs,
        max_steps=config.max_steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=config.warmup_share,
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=config.rows_per_step,
        weight_decay=0.0,
        max_grad_norm=1.0,
        bf16=half == "bfloat16",
        fp16=half == "float16",
        use_cpu=on_cpu,
        gradient_checkpointing=False,  # `adapt` has switched it on where wanted
        logging_steps=1,
        logging_nan_inf_filter=False,  # else a loss that is not a number is logged as 0, and the run goes on
        save_strategy="no",  # by time: TimedCheckpoints
        eval_strategy="no",
        save_total_limit=2,
        seed=config.seed,
        data_seed=config.seed,
        report_to=config.report_to,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        prediction_loss_only=True,
        average_tokens_across_devices=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        save_only_model=False,
        torch_compile=False,
    )
