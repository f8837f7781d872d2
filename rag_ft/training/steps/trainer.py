"""LoRA training on trl's `SFTTrainer`: rows with shared contexts, loss at labels only, safe restarts."""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from rag_ft.environment import main_process, process_count, process_number
from rag_ft.errors import TrainingError, first_line
from rag_ft.files import disk_full, free_bytes, is_disk_full, remove_tree
from rag_ft.models.compute import autocast, product_type
from rag_ft.progress import OnProgress
from rag_ft.training.data.collator import IGNORE_INDEX, Collator, Row
from rag_ft.training.data.splitting import split_row
from rag_ft.training.folder import (
    BEST,
    CHECKPOINTS,
    LAST,
    METRICS_FILE,
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
from rag_ft.training.steps.fsdp import fsdp_asked, fsdp_hidden, is_sharded, shard_base
from rag_ft.training.steps.processes import (
    WAIT_SECONDS,
    check_agreement,
    draw_seed,
    from_main,
    told_of_lost_processes,
)
from rag_ft.training.steps.setup import load_adapter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import TrainerCallback

    from rag_ft.training.steps.callbacks import Pace

logger = logging.getLogger(__name__)


class RowTrainerMixin:
    """Replaces trl's loss by one over the labelled positions alone, each label counted once per step."""

    head_dtype: Any = None
    """Type in which `fused.head_loss` computes the output head's loss; None leaves it to the model's own code."""

    _place = (-1, 0)
    """Step and row in it that are computed."""

    def get_train_dataloader(self) -> Any:
        """All rows in every process, each of which has its own part of them."""
        loader = super().get_train_dataloader()  # type: ignore[misc]  # trl's
        if process_count() > 1:
            # Accelerate would give each process other rows. Transformers switches that off for samplers of its own so.
            loader.batch_sampler.num_processes, loader.batch_sampler.process_index = 1, 0
        return loader

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
        """The loss of one part of a row, after its backward pass; its draws depend on the seed and its place alone."""
        import torch

        step, row = self.state.global_step, self._place[1] + 1  # type: ignore[attr-defined]
        self._place = (step, row if step == self._place[0] else 0)
        torch.manual_seed(draw_seed(self.args.seed, *self._place, process_number()))  # type: ignore[attr-defined]
        return super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean cross-entropy over the labelled tokens of the step (of the batch in evaluation); no logits are kept.

        With several processes it is this one's sum over the step's labels in all, times the number of processes, by
        which their gradients and losses are divided later: so the mean is that of one process with all of the step.
        """
        labels = inputs.pop("labels")
        inputs.pop("_prediction_loss_only", None)  # some versions of trl leave a note to themselves here
        loss, count = labelled_loss(model, inputs, labels, self.head_dtype)
        if model.training and num_items_in_batch is not None:
            mean = loss / num_items_in_batch * process_count()
        else:
            mean = loss / count
        return (mean, {}) if return_outputs else mean


def labelled_loss(model: Any, inputs: dict[str, Any], labels: Any, head_dtype: Any = None) -> tuple[Any, int]:
    """Sum of the cross-entropy over labelled tokens, and their number.

    The output head, wider than all other layers together in small models, sees only the positions that predict a
    labelled token. A label stands at its token: the position before predicts it. With `head_dtype`, head and loss are
    one piece of code (`fused.head_loss`) instead of the model's own.
    """
    import torch

    from rag_ft.training.steps.fused import head_loss

    wanted = labels[:, 1:] != IGNORE_INDEX  # (B, T - 1)
    targets = labels[:, 1:][wanted]  # (N,)
    with _head_on_labelled_positions(model, wanted, bypassed=head_dtype is not None) as head:
        logits = model(**inputs, use_cache=False).logits  # (N, V), or (N, H) if the head is bypassed
    if head_dtype is not None:
        loss = head_loss(logits, head.weight, targets, head_dtype)
    else:
        loss = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")
    return loss, int(targets.numel())


@contextmanager
def _head_on_labelled_positions(model: Any, wanted: Any, *, bypassed: bool) -> Iterator[Any]:
    """Within this context, the output head gets hidden states (N, H) of the wanted positions instead of (B, T, H); if
    bypassed, it returns them unchanged.
    """
    base = getattr(model, "module", model)  # under DistributedDataParallel
    head = base.get_output_embeddings()

    def pick(_module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = args[0]
        return (hidden[:, :-1][wanted], *args[1:])

    handle = head.register_forward_pre_hook(pick)
    if bypassed:
        head.forward = lambda hidden: hidden
    try:
        yield head
    finally:
        handle.remove()
        if bypassed:
            del head.forward


@told_of_lost_processes()
def train_rows(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Row],
    held_out_rows: Sequence[Row],
    config: TrainConfig,
    output: Path,
    *,
    shared: bool = True,
    callbacks: Sequence[TrainerCallback] = (),
    on_progress: OnProgress | None = None,
) -> list[dict[str, float]]:
    """Train from the newest whole checkpoint in `output`; returns the measurements, also in `metrics.jsonl`.

    `shared`: whether the rows are trees, as `pack` made them. Under a launcher, each process computes its part of every
    row and all return the same measurements; only the first one writes. The adapter with the lowest held-out loss is in
    `output/best`. If the last step is done already (`end.json` or a checkpoint of that step), nothing is trained.
    Raises TrainingError, UsageError for a link in place of what a run writes.
    """
    from rag_ft.training.steps.callbacks import BestAdapter, GradientCheck, MeasurementLog, TimedCheckpoints

    output.mkdir(parents=True, exist_ok=True)
    told = on_progress if main_process() else None
    measured = MeasurementLog(output / METRICS_FILE, told, _pace(rows, config), writes=main_process())
    checkpoints = TimedCheckpoints(config.checkpoint_minutes, config.evaluations, bool(held_out_rows))
    best = BestAdapter(output / BEST, config.patience, measured)
    listeners = [checkpoints, measured, best, GradientCheck(), *callbacks]
    parts = _parts(rows)
    if fsdp_asked():
        shard_base(model)
    with fsdp_hidden():
        trainer = _row_trainer(model, tokenizer, parts, held_out_rows, config, output, listeners, shared=shared)
    check_agreement(_fingerprint(rows, held_out_rows), "rows to train on")
    ended, resumed = _state_of(output)
    try:
        measured.resume(ended or (step_of_checkpoint(resumed) if resumed else 0))
        if ended is not None:
            load_adapter(model, output / (LAST if (output / LAST).is_dir() else BEST))
            return measured.history
        if resumed is None and main_process():
            for name in (BEST, LAST):
                remove_tree(output / name, inside=output)
        if resumed is not None and is_over(resumed, measured.history, config.max_steps, config.patience):
            load_adapter(model, resumed)
            step = step_of_checkpoint(resumed)
        else:
            step = _train(trainer, model, resumed, checkpoints.stop, shared=shared)
            if checkpoints.stopped and any(step_of_checkpoint(kept) == step for kept in checkpoints_of(output)):
                raise KeyboardInterrupt  # the current step is done and kept; without a checkpoint, the run is over
        if main_process():
            _keep_last(model, output, step, measured_held_out=bool(held_out_rows))
    except (OSError, RuntimeError, SafetensorError) as error:
        failure = _write_failure(error, output, trainer.state.global_step)
        if failure is None:
            raise
        raise failure from error
    trainer.accelerator.wait_for_everyone()  # the others read what the main process wrote
    return measured.history


def _parts(rows: Sequence[Row]) -> list[Row]:
    """What this process computes of each row."""
    count = process_count()
    if count == 1:
        return list(rows)
    split = [split_row(row, count) for row in rows]
    lengths = [[len(part.input_ids) for part in parts] for parts in split]
    wait = sum(map(max, lengths)) / sum(map(sum, lengths))
    logger.info(
        "%s",
        f"processes       {count}; each computes a part of every step, the largest {wait:.0%} of its tokens on average",
    )
    return [parts[process_number()] for parts in split]


def _fingerprint(*sides: Sequence[Row]) -> str:
    """SHA-256 of rows, in their order."""
    digest = hashlib.sha256()
    for rows in sides:
        digest.update(b"side")
        for row in rows:
            digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def _state_of(output: Path) -> tuple[int | None, Path | None]:
    """The last step if a run trained to its end, and else the checkpoint to resume from, if there is one.

    The first process looks and decides. Raises TrainingError if another does not see the same.
    """
    seen: str | None = None
    if main_process():
        ended = read_end(output)
        resumed = _resume_point(output) if ended is None else None
        seen = json.dumps([ended, None if resumed is None else resumed.name])
    ended, name = json.loads(from_main(seen) or "[null, null]")
    resumed = None if name is None else output / CHECKPOINTS / name
    needed = [output] + ([resumed] if resumed else []) + ([output / BEST] if ended is not None else [])
    check_agreement(f"{ended} {name} {all(path.is_dir() for path in needed)}", "files in the output folder")
    return ended, resumed


def _pace(rows: Sequence[Row], config: TrainConfig) -> Pace:
    """Average examples and tokens per update."""
    from rag_ft.training.steps.callbacks import Pace

    share = config.rows_per_step / len(rows)
    examples, tokens = sum(len(row.records) for row in rows), sum(len(row.input_ids) for row in rows)
    return Pace(share * examples, share * tokens)


def _row_trainer(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Row],
    held_out_rows: Sequence[Row],
    config: TrainConfig,
    output: Path,
    callbacks: Sequence[TrainerCallback],
    *,
    shared: bool,
) -> Any:
    """Trl's trainer over our rows and our loss, with the adapter in 32 bits."""
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    from datasets import Dataset

    class RowTrainer(RowTrainerMixin, SFTTrainer):  # type: ignore[misc]  # trl is untyped
        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            from transformers import Trainer

            Trainer.log(self, logs, start_time)  # trl's own metrics need logits, which are not kept here

    on_cpu = _on_cpu(model)
    dtype = str(product_type(on_cpu)).removeprefix("torch.")
    learned = {parameter: parameter.data for parameter in model.parameters() if parameter.requires_grad}
    with warnings.catch_warnings():
        # trl sets gradient_checkpointing and calls transformers 5.24 by names that it deprecates.
        warnings.simplefilter("ignore", FutureWarning)
        arguments = _arguments(SFTConfig, config, output, on_cpu)
        if arguments.n_gpu > 1:
            # Transformers would split each batch between the devices of one process, and a row cannot be split.
            logger.warning("one of %d GPUs is used: start the command with torchrun for all of them", arguments.n_gpu)
            arguments._n_gpu = 1
        trainer = RowTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list([row._asdict() for row in rows]),
            eval_dataset=Dataset.from_list([row._asdict() for row in held_out_rows]) if held_out_rows else None,
            processing_class=tokenizer,
            data_collator=Collator(tokenizer.pad_token_id, shared=shared, dtype=dtype),
            callbacks=list(callbacks),
        )
    # Over packed weights trl rounds the adapter to bfloat16, which loses steps of less than 0.3% of a value. Here it
    # learns in 32 bits.
    for parameter, value in learned.items():
        parameter.data = value
    trainer.remove_callback(PrinterCallback)
    return trainer


def _on_cpu(model: Any) -> bool:
    return bool(next(model.parameters()).device.type == "cpu")


def _resume_point(output: Path) -> Path | None:
    """The checkpoint to resume from, if it is whole and the best adapter up to it is still there."""
    resumed = newest_checkpoint(output)
    if resumed is not None and measured_best(output, step_of_checkpoint(resumed)) and not (output / BEST).is_dir():
        logger.warning("%s is missing: starting from the beginning", output / BEST)
        return None
    return resumed


def _train(trainer: Any, model: Any, resumed: Path | None, stop: Callable[[], None], *, shared: bool) -> int:
    """Run the steps on the fused kernels, up to the end or an interrupt; returns the last step."""
    from rag_ft.training.steps.fused import fused
    from rag_ft.training.steps.tree_attention import trees

    dtype = product_type(_on_cpu(model))
    attention = trees(model.get_base_model()) if shared else nullcontext()
    # The fused kernels hold on to weights, and those of a sharded base are there only while its own code computes.
    kernels = nullcontext() if is_sharded(model) else fused(model, dtype)
    with _interrupts(stop), kernels as parts, attention:
        trainer.head_dtype = dtype if parts is not None and parts.head else None
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    return int(trainer.state.global_step)


def _keep_last(model: Any, output: Path, step: int, *, measured_held_out: bool) -> None:
    """Keep the adapter of the last step unless it is the best one, and record that the run is over."""
    from rag_ft.training.steps.callbacks import keep_adapter

    if not measured_held_out:
        keep_adapter(model, output / BEST, {"step": float(step)})
    elif step_of(output / BEST) != step:
        keep_adapter(model, output / LAST, {"step": float(step)})
    else:
        remove_tree(output / LAST, inside=output)
    write_end(output, step)


_FULL_DISK_BYTES = 1_000_000
"""Free bytes below which a failed write has filled the disk."""

_TORCH_WRITES = ("PytorchStreamWriter", "unexpected pos")
"""Words in torch's errors about writing, which do not say why it failed."""


def _write_failure(error: Exception, output: Path, step: int) -> TrainingError | None:
    """The error to raise for one about writing, else None; a checkpoint that it cut is removed."""
    reason = first_line(error)
    if not isinstance(error, OSError | SafetensorError) and not any(words in reason for words in _TORCH_WRITES):
        return None
    full = is_disk_full(error) or free_bytes(output) < _FULL_DISK_BYTES
    if main_process():
        for checkpoint in checkpoints_of(output):
            remove_broken(checkpoint, output)
    kept = f"step {step} could not be kept; the run resumes from its newest whole checkpoint"
    if full:
        return TrainingError(disk_full(output, kept))
    return TrainingError(
        f"step {step} could not be kept in {output} ({reason}): free some space and run the same command, which resumes"
        " from the newest whole checkpoint"
    )


@contextmanager
def _interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """Within this context, Ctrl-C stops the run after the current step, from which it resumes exactly; a second one
    stops at once. Outside the main thread nothing changes.
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
    """Trl's settings for a run; its preparation and truncation are off, because our rows are ready to train on."""
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
        logging_nan_inf_filter=False,  # else a loss that is not a number is logged as 0, and the run continues
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
        average_tokens_across_devices=process_count() > 1,
        ddp_timeout=WAIT_SECONDS,
        ddp_find_unused_parameters=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        save_only_model=False,
        torch_compile=False,
    )
