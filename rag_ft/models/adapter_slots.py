"""One base model in memory and its adapters, one of them active at a time. Its readers share the base's weights."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rag_ft.errors import UsageError, WeightsError, first_line
from rag_ft.models.adapter_record import adapter_record, check_base
from rag_ft.models.folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from rag_ft.models.weights import NO_ADAPTER, PACKAGED, Weights, packaged_adapter, resolve_adapter, tensor_shapes


class AdapterSlot(NamedTuple):
    """An adapter by the name that it is asked for."""

    weights: Weights | None
    """None: no adapter, the base as it is in memory."""
    slot: str | None
    """PEFT's name for it, which is never given twice: a reader of a removed adapter cannot read with another one."""


class AdapterSlots:
    """The adapters of one base model in memory.

    `activated` makes an adapter the active one. Who wants another waits until nobody uses it, and for its turn.
    """

    def __init__(self, model: Any, weights: Weights, adapter: Weights | None, *, nf4: bool = False) -> None:
        self.model = model
        self._weights = weights
        self._nf4 = nf4
        self._turn = threading.Lock()
        """Held by whoever changes the active adapter, while waiting too, so that no one behind can slip in before."""
        self._left = threading.Condition()
        self._users = 0
        self._made = 0
        adapted = _is_adapted(model)
        slot = str(model.active_adapter) if adapted else None
        self.start = _name_of(adapter) if adapter is not None else slot or NO_ADAPTER
        """Name of the adapter that the model was loaded with; `none` where there was none."""
        # A model that comes with an adapter and no folder is in training: it is active, and has nothing on disk.
        self._held = {self.start: AdapterSlot(adapter, slot)} if adapted else {}
        self._active = slot

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters in memory, the first one first; `none` is not among them and always there."""
        return tuple(self._held)

    def get(self, name: str) -> AdapterSlot:
        """The adapter of a name. Raises UsageError, naming those there are."""
        if name in self._held:
            return self._held[name]
        if name == NO_ADAPTER:
            return AdapterSlot(None, None)
        known = ", ".join((*self._held, NO_ADAPTER))
        raise UsageError(f"there is no adapter {name!r} in this reader: use one of {known}, or add it by add_adapter")

    def checked(self, name: str, folder: str | Path) -> Weights | None:
        """What `folder` (or `packaged`, or `none`) stands for, after making sure that it fits this base as `name`.

        Raises UsageError, WeightsError.
        """
        if not name or not name.isprintable():
            raise UsageError(f"the adapter's name is {name!r}: give a name of printable characters")
        if str(folder) == NO_ADAPTER:
            return None
        if name == NO_ADAPTER:
            raise UsageError(f"the name {NO_ADAPTER!r} stands for the untuned base: give the adapter {folder} another")
        tuned = resolve_adapter(adapter_folder(folder))
        record = adapter_record(tuned)
        check_base(record, self._weights, tuned)
        bits = record.get("base_model", {}).get("bits")
        if bits is not None and (bits == 4) != self._nf4:
            trained, here = ("NF4 (4-bit) values", "the original ones") if bits == 4 else ("full values", "NF4 values")
            raise WeightsError(
                f"the adapter {tuned.path} was trained on a base with {trained} and the base in memory has {here}: load"
                " it into a reader of its own, Reader.from_pretrained(..., adapter=...)"
            )
        _check_fits(self.model, tuned)
        return tuned

    def add(self, name: str, tuned: Weights | None) -> None:
        """Load an adapter that `checked` has passed. Raises UsageError where the name is taken by another one."""
        with self._alone():
            if name in self._held:
                before = self._held[name].weights
                if (before and before.fingerprint) == (tuned and tuned.fingerprint):
                    return
                raise UsageError(
                    f"this reader has another adapter named {name!r}: remove that first, or give a new name"
                )
            if tuned is None:
                self._held[name] = AdapterSlot(None, None)
                return
            self._made += 1
            slot = f"adapter-{self._made}"
            self.model = attach_adapter(self.model, tuned, slot)
            self._held[name] = AdapterSlot(tuned, slot)
            self._activate(self._active)  # loading may have touched what is active

    def remove(self, name: str) -> None:
        """Free an adapter's memory. Raises UsageError for an unknown one and for the one that was there first."""
        with self._alone():
            slot = self.get(name).slot
            if name in (self.start, NO_ADAPTER):
                raise UsageError(f"the adapter {name!r} is what this reader began with and stays: remove another one")
            del self._held[name]
            if slot is None:
                return
            if self._active == slot:
                self._active = self._held[self.start].slot if self.start in self._held else None
            others = [one.slot for one in self._held.values() if one.slot is not None]
            if others:
                # PEFT warns where an active adapter is deleted, and a disabled one counts as active.
                self.model.set_adapter(others[0], inference_mode=True)
                self.model.delete_adapter(slot)
            else:
                self.model = self.model.unload()  # PEFT's model cannot be without any
            self._activate(self._active)

    @contextmanager
    def activated(self, held: AdapterSlot) -> Iterator[None]:
        """Within it the model computes with this adapter; other threads may use the same one, and no other.

        Not to be entered again within it. Raises UsageError if the adapter is gone.
        """
        with self._turn:
            if held.slot != self._active:
                if held.slot is not None and all(one.slot != held.slot for one in self._held.values()):
                    name = held.weights.name if held.weights is not None else held.slot
                    raise UsageError(f"the adapter {name} was removed from this base model: add it again")
                self._wait_until_unused()
                self._activate(held.slot)
            with self._left:
                self._users += 1
        try:
            yield
        finally:
            with self._left:
                self._users -= 1
                self._left.notify_all()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Within it no adapter is in use, and the layers may be changed."""
        with self._turn:
            self._wait_until_unused()
            yield

    def _wait_until_unused(self) -> None:
        with self._left:
            self._left.wait_for(lambda: self._users == 0)

    def _activate(self, slot: str | None) -> None:
        """Make a slot the active one, whatever was; the active one again, after the layers have changed."""
        if slot is not None:
            if self._active is None or slot == self._active:  # else they are on, and going through them all costs time
                self.model.base_model.enable_adapter_layers()
            self.model.set_adapter(slot, inference_mode=True)
        elif _is_adapted(self.model):
            self.model.base_model.disable_adapter_layers()
        self._active = slot


def adapter_folder(adapter: str | Path) -> Path:
    """The folder of an adapter given by its path, or of the one that ships by `packaged`. Raises UsageError."""
    if str(adapter) != PACKAGED:
        return Path(adapter)
    folder = packaged_adapter()
    if folder is None:
        raise UsageError("this installation of rag_ft has no packaged adapter: give an adapter's folder")
    return folder


def attach_adapter(model: Any, tuned: Weights, slot: str) -> Any:
    """The PEFT model around `model`, which is changed in place, with one adapter more, not active unless the first.

    Raises WeightsError.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    from rag_ft.models.inplace_lora import patch_lora_forward

    first = not _is_adapted(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft 0.21 asks transformers by a deprecated name
            # A tensor that the folder lacks would be left at its random start.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            if first:
                made = PeftModel.from_pretrained(
                    model, tuned.path, adapter_name=slot, is_trainable=False, autocast_adapter_dtype=False
                )
                patch_lora_forward(made)
                return made
            missing = model.load_adapter(
                str(tuned.path),
                slot,
                is_trainable=False,
                torch_device=str(model.device),
                autocast_adapter_dtype=False,  # else at float32 beside a base at 16 bits: a quarter slower, not better
            ).missing_keys
            if missing:
                raise ValueError(f"it lacks {missing[0]}")
            patch_lora_forward(model)  # it may adapt layers that the others leave alone
    except (ValueError, RuntimeError, KeyError, TypeError, UserWarning, SafetensorError) as error:
        if first:
            _unwrap(model)
        elif slot in model.peft_config:
            model.delete_adapter(slot)
        reason = first_line(error)
        raise WeightsError(
            f"the adapter {tuned.path} does not fit the base model ({reason}):"
            " use the base model that it was trained on"
        ) from error
    return model


def _unwrap(model: Any) -> None:
    """Put the base's own layers back where PEFT has wrapped them before it failed, and left no model to unload."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    wrapped = [(name, one) for name, one in model.named_modules() if isinstance(one, BaseTunerLayer)]
    for name, layer in wrapped:
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, layer.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config


def _is_adapted(model: Any) -> bool:
    """Whether it is PEFT's model around a base; that leaves marks in the base too, but not this method."""
    return hasattr(model, "get_base_model")


def _name_of(adapter: Weights) -> str:
    """`packaged` for the adapter that ships, else the folder's name."""
    ships = packaged_adapter()
    return PACKAGED if ships is not None and adapter.path.resolve() == ships.resolve() else adapter.path.resolve().name


def _check_fits(model: Any, tuned: Weights) -> None:
    """Compare shapes before anything in the model is touched. Raises WeightsError."""
    config = json.loads((tuned.path / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    if config.get("peft_type") != "LORA":
        raise WeightsError(
            f"{tuned.path} is an adapter of the kind {config.get('peft_type')}: only LoRA adapters can share a base"
        )
    base = model.get_base_model() if _is_adapted(model) else model
    modules = dict(base.named_modules())
    for name, shape in tensor_shapes(tuned.path / ADAPTER_WEIGHTS).items():
        place, _, kind = name.removeprefix("base_model.model.").rpartition(".lora_")
        if kind not in ("A.weight", "B.weight"):
            continue
        module = modules.get(place)
        size = getattr(module, "in_features" if kind == "A.weight" else "out_features", None)
        if size != shape[1 if kind == "A.weight" else 0]:
            found = "no such layer" if module is None else f"one of {size}"
            raise WeightsError(
                f"the adapter {tuned.path} does not fit the base model ({name} has shape {list(shape)} and the base has"
                f" {found}): use the base model that it was trained on"
            )
