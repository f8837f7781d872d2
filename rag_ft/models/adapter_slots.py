"""One base model in memory and its adapters, one of them active at a time. All readers share the base's weights."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rag_ft.errors import UsageError, WeightsError, first_line
from rag_ft.models.adapter_record import adapter_record, check_base
from rag_ft.models.folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from rag_ft.models.weights import NO_ADAPTER, PACKAGED, Weights, packaged_adapter, resolve_adapter, tensor_shapes

if TYPE_CHECKING:
    from rag_ft.models.plain_llama import PlainLlama


FIRST_SLOT = "default"
"""PEFT's name for the adapter that a base was loaded with."""


class AdapterSlot(NamedTuple):
    """An adapter in memory."""

    weights: Weights | None
    """The adapter's folder; None for the base without an adapter."""
    slot: str | None
    """PEFT's name for the adapter, never used twice: a reader of a removed adapter cannot read with another one."""


class AdapterSlots:
    """The adapters of one base model in memory.

    `activated` makes an adapter the active one. A thread that needs another one waits until nobody uses the active one,
    and for its turn.
    """

    def __init__(
        self,
        model: Any,
        weights: Weights,
        adapter: Weights | None,
        *,
        nf4: bool = False,
        plain: PlainLlama | None = None,
        load: Callable[[], Any] | None = None,
    ) -> None:
        """`plain` and `load`: see `reading_with`; `model` is None then."""
        self._model = model
        self._plain = plain
        self._load = load
        self._loading = threading.RLock()
        """Held while the model of the library is loaded, and while the active adapter changes."""
        self._weights = weights
        self._nf4 = nf4
        self._turn = threading.Lock()
        """Held by the thread that changes the active adapter, also while it waits, so that none can overtake it."""
        self._user_left = threading.Condition()
        self._users = 0
        self._added = 0
        if plain is not None:
            slot = None if adapter is None else FIRST_SLOT
        else:
            slot = str(model.active_adapter) if _is_adapted(model) else None
        self.start = _name_of(adapter) if adapter is not None else slot or NO_ADAPTER
        """Name of the adapter that the model was loaded with; `none` without one."""
        # A model that comes with an adapter and no folder is in training: that adapter is active and not yet on disk.
        self._slots = {} if slot is None else {self.start: AdapterSlot(adapter, slot)}
        self._active = slot

    @classmethod
    def reading_with(
        cls, plain: PlainLlama, load: Callable[[], Any], weights: Weights, adapter: Weights | None
    ) -> AdapterSlots:
        """Slots of a base that `plain` reads with until there is a second adapter; `load` loads the library's model."""
        return cls(None, weights, adapter, plain=plain, load=load)

    @property
    def model(self) -> Any:
        """The model of transformers, in PEFT's with adapters; where `PlainLlama` reads, it is loaded when first used.

        Raises WeightsError.
        """
        with self._loading:
            if self._model is None and self._load is not None:
                self._model = self._load()
                if self._plain is not None:
                    self._plain.share_weights(base_of(self._model))
                self._switch(self._active)
            return self._model

    @property
    def network(self) -> Any:
        """What reads questions: `PlainLlama` while it can, else the model."""
        return self._plain if self._plain is not None else self.model

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapters in memory, the first one first; without `none`, which is always available."""
        return tuple(self._slots)

    def get(self, name: str) -> AdapterSlot:
        """The adapter of a name. Raises UsageError that lists the known names."""
        if name in self._slots:
            return self._slots[name]
        if name == NO_ADAPTER:
            return AdapterSlot(None, None)
        known = ", ".join((*self._slots, NO_ADAPTER))
        raise UsageError(f"there is no adapter {name!r} in this reader: use one of {known}, or add it with add_adapter")

    def checked(self, name: str, folder: str | Path) -> Weights | None:
        """The weights in `folder` (None for `none`), after making sure that they fit this base and `name` is usable.

        `folder` may be `packaged`. Raises UsageError, WeightsError.
        """
        if not name or not name.isprintable():
            raise UsageError(f"the adapter's name is {name!r}: give a name of printable characters")
        if str(folder) == NO_ADAPTER:
            return None
        if name == NO_ADAPTER:
            raise UsageError(
                f"the name {NO_ADAPTER!r} stands for the untuned base: give the adapter {folder} another name"
            )
        tuned = resolve_adapter(adapter_folder(folder))
        record = adapter_record(tuned)
        check_base(record, self._weights, tuned)
        bits = record.get("base_model", {}).get("bits")
        if bits is not None and (bits == 4) != self._nf4:
            trained, loaded = (
                ("NF4 (4-bit) values", "the original ones") if bits == 4 else ("full values", "NF4 values")
            )
            raise WeightsError(
                f"the adapter {tuned.path} was trained on a base with {trained} and the base in memory has {loaded}:"
                " load it with another reader, Reader.from_pretrained(..., adapter=...)"
            )
        _check_fits(self.model, tuned)
        return tuned

    def add(self, name: str, tuned: Weights | None) -> None:
        """Load an adapter that `checked` has passed. Raises UsageError where another adapter has the name."""
        with self._alone():
            if name in self._slots:
                present = self._slots[name].weights
                if (present and present.fingerprint) == (tuned and tuned.fingerprint):
                    return
                raise UsageError(
                    f"this reader has another adapter named {name!r}: remove that one first, or give a new name"
                )
            if tuned is None:
                self._slots[name] = AdapterSlot(None, None)
                return
            self._added += 1
            slot = f"adapter-{self._added}"
            self._model = attach_adapter(self.model, tuned, slot)
            self._plain = None  # it has no second adapter
            self._slots[name] = AdapterSlot(tuned, slot)
            self._activate(self._active)  # loading may have changed which layers are active

    def remove(self, name: str) -> None:
        """Free an adapter's memory. Raises UsageError for an unknown one and for the one that was loaded first."""
        with self._alone():
            slot = self.get(name).slot
            if name in (self.start, NO_ADAPTER):
                raise UsageError(
                    f"the adapter {name!r} was loaded with this reader and cannot be removed: remove another one"
                )
            del self._slots[name]
            if slot is None:
                return
            if self._active == slot:
                self._active = self._slots[self.start].slot if self.start in self._slots else None
            others = [entry.slot for entry in self._slots.values() if entry.slot is not None]
            if others:
                # PEFT warns where an active adapter is deleted, and a disabled one counts as active.
                self.model.set_adapter(others[0], inference_mode=True)
                self.model.delete_adapter(slot)
            else:
                self._model = self.model.unload()  # PEFT's model needs at least one adapter
            self._activate(self._active)

    @contextmanager
    def activated(self, adapter: AdapterSlot) -> Iterator[None]:
        """A context in which the model computes with this adapter; other threads may use the same one, but no other.

        It must not be entered again inside itself. Raises UsageError if the adapter was removed.
        """
        with self._turn:
            if adapter.slot != self._active:
                if adapter.slot is not None and all(entry.slot != adapter.slot for entry in self._slots.values()):
                    name = adapter.weights.name if adapter.weights is not None else adapter.slot
                    raise UsageError(f"the adapter {name} was removed from this base model: add it again")
                self._wait_until_unused()
                self._activate(adapter.slot)
            with self._user_left:
                self._users += 1
        try:
            yield
        finally:
            with self._user_left:
                self._users -= 1
                self._user_left.notify_all()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """A context in which no adapter is in use, so that the layers may be changed."""
        with self._turn:
            self._wait_until_unused()
            yield

    def _wait_until_unused(self) -> None:
        with self._user_left:
            self._user_left.wait_for(lambda: self._users == 0)

    def _activate(self, slot: str | None) -> None:
        """Make a slot the active one; also called for the active one, after the layers have changed."""
        with self._loading:
            if self._plain is not None:
                self._plain.adapted = slot is not None
            if self._model is not None:
                self._switch(slot)
            self._active = slot

    def _switch(self, slot: str | None) -> None:
        """Let the library's model compute with a slot."""
        if slot is not None:
            if self._active is None or slot == self._active:  # else they are enabled, and visiting all of them is slow
                self._model.base_model.enable_adapter_layers()
            self._model.set_adapter(slot, inference_mode=True)
        elif _is_adapted(self._model):
            self._model.base_model.disable_adapter_layers()


def adapter_folder(adapter: str | Path) -> Path:
    """The folder of an adapter: the path that was given, or that of the packaged one. Raises UsageError."""
    if str(adapter) != PACKAGED:
        return Path(adapter)
    folder = packaged_adapter()
    if folder is None:
        raise UsageError("this installation of rag_ft has no packaged adapter: give an adapter's folder")
    return folder


def attach_adapter(model: Any, tuned: Weights, slot: str) -> Any:
    """The PEFT model around `model`, which is changed in place, with another adapter; only the first becomes active.

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
                adapted = PeftModel.from_pretrained(
                    model, tuned.path, adapter_name=slot, is_trainable=False, autocast_adapter_dtype=False
                )
                patch_lora_forward(adapted)
                return adapted
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
        raise WeightsError(
            f"the adapter {tuned.path} does not fit the base model ({first_line(error)}): use the base model that it"
            " was trained on"
        ) from error
    return model


def _unwrap(model: Any) -> None:
    """Restore the base's layers where PEFT wrapped them before it failed, and left no model to unload."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    wrapped = [(path, module) for path, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    for path, layer in wrapped:
        parent, _, attribute = path.rpartition(".")
        setattr(model.get_submodule(parent), attribute, layer.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config


def base_of(model: Any) -> Any:
    """The model without PEFT's around it."""
    return model.get_base_model() if _is_adapted(model) else model


def _is_adapted(model: Any) -> bool:
    """Whether it is PEFT's model around a base; PEFT marks the base too, but does not give it this method."""
    return hasattr(model, "get_base_model")


def _name_of(adapter: Weights) -> str:
    """`packaged` for the packaged adapter, else the folder's name."""
    packaged = packaged_adapter()
    path = adapter.path.resolve()
    return PACKAGED if packaged is not None and path == packaged.resolve() else path.name


def _check_fits(model: Any, tuned: Weights) -> None:
    """Compare the shapes of an adapter and a base before the model is changed. Raises WeightsError."""
    config = json.loads((tuned.path / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    if config.get("peft_type") != "LORA":
        raise WeightsError(
            f"{tuned.path} is an adapter of the kind {config.get('peft_type')}: only LoRA adapters can share a base"
        )
    modules = dict(base_of(model).named_modules())
    for name, shape in tensor_shapes(tuned.path / ADAPTER_WEIGHTS).items():
        path, _, kind = name.removeprefix("base_model.model.").rpartition(".lora_")
        if kind not in ("A.weight", "B.weight"):
            continue
        module = modules.get(path)
        size = getattr(module, "in_features" if kind == "A.weight" else "out_features", None)
        if size != shape[1 if kind == "A.weight" else 0]:
            layer = "no such layer" if module is None else f"one of {size}"
            raise WeightsError(
                f"the adapter {tuned.path} does not fit the base model ({name} has shape {list(shape)} and the base has"
                f" {layer}): use the base model that it was trained on"
            )
