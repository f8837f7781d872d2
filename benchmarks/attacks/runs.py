"""Kills, full disks and files of other people against training, evaluation, merge, export, average and calibration.

    TMPDIR=/dev/shm OMP_NUM_THREADS=1 python benchmarks/attacks/runs.py [--count 40] [--only train,eval] [--share 1/2]

Each attack runs the real code with the two-layer model of the tests in a forked process. A run that is not disturbed
says which files it opens, renames and removes; then a process is killed (SIGKILL) right before one of these, spread
evenly over all of them, with half of what it writes written, or at a random moment. The same call is made again, and
must leave what the undisturbed one left, byte for byte but for what a clock says. A full disk is every write refused
from one of them on. First, folders with files and links of other people, which nothing may change.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests"), str(Path(__file__).parent)]

from table import Tally, show  # noqa: E402

from rag_ft.errors import RagFtError  # noqa: E402

CLOCK = {"seconds", "examples_per_second", "tokens_per_second", "first_step"}
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}
PARTIAL = re.compile(r"\.partial-\d+-")


class Trap:
    """Counts what a process changes under a folder, and acts at one of these changes."""

    def __init__(self, root: Path, at: int, act: Callable[[str], None], *, writes_only: bool = False) -> None:
        self._root, self._at, self._act, self._writes_only = str(root), at, act, writes_only
        self.seen: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            changes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        elif event in CHANGES and not (self._writes_only and event != "os.mkdir"):
            path, changes = args[0], True
        else:
            return
        if not changes or isinstance(path, int):
            return
        name = os.fsdecode(path)
        if not name.startswith(self._root) and os.path.isabs(name):
            return
        if not os.path.isabs(name) and event != "os.remove" and event != "os.rmdir":  # of rmtree, which has handles
            return
        self.seen.append(f"{event} {Path(name).name}")
        if len(self.seen) >= self._at:
            self._act(self.seen[-1])


def die(_: str = "") -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def no_space(_: str = "") -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def forked(work: Callable[[], None], said: Path, kill_after: float | None = None) -> tuple[int, str]:
    """Run in another process: minus the signal that ended it, or its exit status, and what it printed."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            work()
            status = 0
        except RagFtError as error:
            os.write(1, f"\nRAGFT {type(error).__name__}: {error}\n".encode())
            status = 3
        except BaseException:
            os.write(1, traceback.format_exc().encode())
        finally:
            os._exit(status)
    if kill_after is not None:
        deadline = time.monotonic() + kill_after
        while time.monotonic() < deadline:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return 0, ""
            time.sleep(0.005)
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    text = said.read_text(errors="replace") if said.exists() else ""
    return (-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)), text


def timeless(content: Any) -> Any:
    """JSON without what a clock says."""
    if isinstance(content, dict):
        return {name: timeless(value) for name, value in content.items() if name not in CLOCK}
    return [timeless(value) for value in content] if isinstance(content, list) else content


def tree(folder: Path, left_out: frozenset[str] = frozenset()) -> dict[str, Any]:
    """What is in a folder, hidden files among it."""
    found: dict[str, Any] = {}
    for path in sorted([folder, *folder.rglob("*")]):
        name = str(path.relative_to(folder))
        if path.name in left_out:
            continue
        if path.is_symlink():
            found[name] = f"link {os.readlink(path)}"
        elif path.is_dir():
            found[name] = "folder"
        elif path.suffix == ".json":
            found[name] = timeless(json.loads(path.read_text()))
        elif path.suffix == ".jsonl":
            found[name] = [timeless(json.loads(line)) for line in path.read_text().splitlines()]
        else:
            found[name] = path.read_bytes()
    return found


def differs(wanted: dict[str, Any], got: dict[str, Any]) -> str:
    """The first difference, or nothing."""
    for name in sorted({*wanted, *got}):
        if name not in got or name not in wanted:
            return f"{name} is {'missing' if name not in got else 'left over'}"
        if wanted[name] != got[name]:
            return f"{name} differs"
    return ""


@dataclass
class Target:
    """Something that writes: how it is called, what it leaves, and what a reader may see at any moment."""

    name: str
    call: Callable[[Path], None]
    """Given the folder to write below."""
    prepare: Callable[[Path], None] = lambda folder: None
    check: Callable[[Path], str] = lambda folder: ""
    """What is wrong right after a kill, before the next call; nothing where nothing is."""
    left_out: frozenset[str] = frozenset()
    tear: bool = True
    after: Callable[[Path], str] = lambda folder: ""
    """What is wrong when the call was made again, beside what the folder holds."""
    results: Callable[[Path], dict[str, Any]] | None = None
    """What must be equal in the end; None: all that is in the folder."""
    state: dict[str, Any] = field(default_factory=dict)


def torn(at: int) -> None:
    """Half of the at-th large write, then a kill; half of a saved file, too."""
    import peft.peft_model
    import safetensors.torch
    import torch

    count = 0
    write, save, weights = os.write, torch.save, safetensors.torch.save_file

    def next_one() -> bool:
        nonlocal count
        count += 1
        return count == at

    def half_write(handle: int, data: Any) -> int:
        if handle > 2 and next_one():
            write(handle, bytes(data)[: len(data) // 2])
            die()
        return write(handle, data)

    def half(path: Any) -> None:
        os.truncate(path, os.path.getsize(path) // 2)
        die()

    def half_save(content: Any, path: Any, *more: Any, **named: Any) -> Any:
        done = save(content, path, *more, **named)
        if isinstance(path, str | os.PathLike) and next_one():
            half(path)
        return done

    def half_weights(tensors: Any, path: Any, *more: Any, **named: Any) -> Any:
        done = weights(tensors, path, *more, **named)
        if next_one():
            half(path)
        return done

    os.write, torch.save = half_write, half_save
    safetensors.torch.save_file = half_weights
    peft.peft_model.safe_save_file = half_weights


class Attack:
    """All that is done to one target."""

    def __init__(self, target: Target, scratch: Path, count: int, seed: int, share: slice) -> None:
        self.target, self.scratch, self.count, self.share = target, scratch, count, share
        self.random = random.Random(f"{seed} {target.name}")
        self.said = scratch / "said.txt"
        self.whole = self._folder("whole")
        log = scratch / f"{target.name}.events"

        def counted() -> None:
            trap = Trap(self.whole, 10**9, die)
            target.call(self.whole)
            log.write_text("\n".join(trap.seen))

        begin = time.monotonic()
        status, text = forked(counted, self.said)
        if status:
            raise SystemExit(f"{target.name}: the undisturbed run failed\n{text[-3000:]}")
        self.seconds = time.monotonic() - begin
        self.events = log.read_text().splitlines()
        self.wanted = self._results(self.whole)
        print(f"{target.name}: {len(self.events)} changes on disk, {self.seconds:.1f} s undisturbed", flush=True)

    def _results(self, folder: Path) -> dict[str, Any]:
        return tree(folder, self.target.left_out) if self.target.results is None else self.target.results(folder)

    def _folder(self, name: str) -> Path:
        folder = self.scratch / f"{self.target.name}-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.target.prepare(folder)
        return folder

    def _again(self, folder: Path, tally: Tally, what: str) -> None:
        wrong = self.target.check(folder)
        if wrong:
            tally.failed(f"{what}: {wrong}")
            return
        status, text = forked(lambda: self.target.call(folder), self.said)
        if status:
            tally.failed(f"{what}: the next call ended with {status}: {text.strip()[-300:]}")
            return
        try:
            wrong = differs(self.wanted, self._results(folder)) or self.target.after(folder)
        except ValueError as error:
            wrong = f"a file cannot be read: {error}"
        tally.failed(f"{what}: {wrong}") if wrong else tally.held()
        print(f"{tally.name}, {what}: {wrong or 'held'}", flush=True)

    def kills(self) -> list[Tally]:
        """Before every change, in the middle of writes, at random moments."""
        placed, teared, timed = (
            Tally(f"{self.target.name}: killed {where}") for where in ("before a change", "in a write", "at random")
        )
        total = len(self.events)
        places = sorted({round(1 + step * (total - 1) / max(1, self.count - 1)) for step in range(self.count)})
        for at in places[self.share]:
            folder = self._folder("killed")

            def work(at: int = at, folder: Path = folder) -> None:
                Trap(folder, at, die)
                self.target.call(folder)

            status, text = forked(work, self.said)
            if status == 0:  # how often the peaks of memory are written is not the same in every run
                continue
            if status != -signal.SIGKILL:
                placed.failed(f"change {at} did not come ({status}): {text[-300:]}")
                continue
            self._again(folder, placed, f"change {at} of {total} ({self.events[at - 1]})")
        for at in list(range(1, 1 + self.count // 4))[self.share] if self.target.tear else ():
            folder = self._folder("torn")

            def work_torn(at: int = at, folder: Path = folder) -> None:
                torn(at * 2)
                self.target.call(folder)

            status, _ = forked(work_torn, self.said)
            if status != -signal.SIGKILL:
                break
            self._again(folder, teared, f"write {at * 2}")
        moments = [self.random.uniform(0, 1.1 * self.seconds) for _ in range(max(3, self.count // 4))]
        for seconds in moments[self.share]:
            folder = self._folder("timed")
            forked(lambda folder=folder: self.target.call(folder), self.said, kill_after=seconds)  # type: ignore[misc]
            self._again(folder, timed, f"after {seconds:.2f} s")
        return [tally for tally in (placed, teared, timed) if tally.tried]

    def full_disks(self) -> Tally:
        """No write succeeds from one of them on; then there is space again."""
        tally = Tally(f"{self.target.name}: disk full")
        writes = [event for event in self.events if event.startswith(("open", "os.mkdir"))]
        count = max(2, self.count // 3)
        places = {round(1 + step * (len(writes) - 1) / (count - 1)) for step in range(count)}
        for at in sorted(places)[self.share]:
            folder = self._folder("full")

            def work(at: int = at, folder: Path = folder) -> None:
                Trap(folder, at, no_space, writes_only=True)
                self.target.call(folder)

            status, text = forked(work, self.said)
            if status == 0:
                continue
            what = f"write {at} of {len(writes)} ({writes[at - 1]})"
            told = text[text.rfind("RAGFT") :].strip()
            if status != 3 or "disk" not in told or "free some space" not in told:
                tally.failed(f"{what}: ended with {status}: {told or text.strip()[-400:]}")
                continue
            left = [path.name for path in folder.rglob("*") if PARTIAL.search(path.name)]
            if left:
                tally.failed(f"{what}: {left[0]} is left")
                continue
            self._again(folder, tally, what)
        return tally


# What is attacked


def targets(scratch: Path) -> list[Target]:
    """Training, its curve and its patience; a whole evaluation; merge, exports, average, calibration."""
    from conftest import tiny_llama_dir
    from data import little_world
    from fakes import HashingEmbedder
    from tiny_adapters import REQUESTS, make_adapter

    from rag_ft.adapters.average import average_adapters
    from rag_ft.adapters.calibrate import calibrate_adapter
    from rag_ft.adapters.export import export_gguf, export_peft
    from rag_ft.adapters.merge import merge_adapter
    from rag_ft.answering.reader import Reader
    from rag_ft.evaluation.arms.baselines import FunctionArm, PassageArm
    from rag_ft.evaluation.arms.readers import ClosedBookArm, ReaderArm
    from rag_ft.evaluation.evaluate import evaluate_recipe
    from rag_ft.evaluation.recipe import Recipe
    from rag_ft.indexing.index import Index
    from rag_ft.questions.records import write_questions
    from rag_ft.training.curve import train_curve
    from rag_ft.training.lora import AdapterConfig
    from rag_ft.training.run import train_reader
    from rag_ft.training.steps.config import TrainConfig

    class Folders:
        def mktemp(self, name: str) -> Path:
            folder = scratch / name
            folder.mkdir()
            return folder

    base = str(tiny_llama_dir.__wrapped__(Folders()))  # type: ignore[attr-defined]
    documents, questions = little_world()
    index_folder = scratch / "index"
    Index.build(documents, index_folder, embedder=HashingEmbedder(), progress=False)
    write_questions(questions, scratch / "qa.jsonl")

    def world() -> Any:
        return Index.load(index_folder, embedder=HashingEmbedder())

    steps = TrainConfig(
        bits=32, epochs=9, max_steps=8, learning_rate=5e-3, row_tokens=500, evaluations=4, checkpoint_minutes=1e-9
    )
    given: dict[str, Any] = {"reader": base, "lora": AdapterConfig(rank=4, dropout=0.1)}

    def train(folder: Path) -> None:
        train_reader(questions, world(), folder / "out", training=steps, **given)

    def patient(folder: Path) -> None:
        config = steps.model_copy(update={"learning_rate": 1e-30, "patience": 2, "max_steps": 20, "evaluations": 10})
        train_reader(questions, world(), folder / "out", training=config, compare=False, **given)

    def curve(folder: Path) -> None:
        config = steps.model_copy(update={"max_steps": 2, "evaluations": 1})
        train_curve(questions, world(), folder / "out", halvings=1, training=config, compare=False, **given)

    one, two = (make_adapter(scratch / f"adapter-{seed}", base, seed, threshold=1e-6) for seed in (1, 2))

    # The evaluation: development thresholds, four arms, faithfulness, robustness, a learning curve.
    recipe = Recipe.model_validate(
        {
            "title": "t",
            "questions": str(scratch / "qa.jsonl"),
            "documents": str(scratch),
            "split": "all",
            "faithfulness": True,
            "robustness": 1,
            "primary": {"first": "tuned", "second": "top"},
            "development": {"questions": 5, "share": 0.3},
            "learning_curve": {"adapter": [{"records": size, "adapter": f"/a/{size}"} for size in (5, 10, 20, 40)]},
            "arm": [
                {"name": "tuned", "kind": "reader", "adapter": str(one)},
                {"name": "plain", "kind": "reader", "adapter": "none", "threshold": "development"},
                {"name": "alone", "kind": "closed book", "adapter": "none"},
                {"name": "top", "kind": "passage"},
            ],
        }
    )
    asked_log = scratch / "asked.log"

    class Noted:
        """An arm that writes down, outside of the evaluation's folder, what it is asked."""

        def __init__(self, arm: Any) -> None:
            self.arm, self.name, self.settings = arm, arm.name, arm.settings

        def reply(self, asked: Any) -> Any:
            made = self.arm.reply(asked)
            with asked_log.open("a") as file:
                file.write("".join(f"{self.name} {each.question.id}\n" for each in asked))
            return made

    def arms(*_: Any) -> list[Any]:
        def reader(**more: Any) -> Any:
            return Reader.from_pretrained(base, threshold=0.0, **more)

        return [
            ReaderArm("tuned", reader(adapter=one), 3),
            ReaderArm("plain", reader(), 3),
            ClosedBookArm("alone", reader(mode="schema")),
            Noted(PassageArm("top")),
        ]

    def sized(*_: Any) -> list[tuple[int, Any]]:
        def says(size: int) -> Any:
            return Noted(FunctionArm(f"{size} records", lambda question, passages: passages[0].text[:size]))

        return [(size, says(size)) for size in (5, 10, 20, 40)]

    def judge(folder: Path) -> None:
        evaluate_recipe(recipe, folder / "out", arms=arms, curve=sized, index=world())

    def reset(folder: Path) -> None:
        asked_log.unlink(missing_ok=True)

    def once(folder: Path) -> str:
        """Nothing is on disk twice, and at most one batch was asked twice."""
        for path in folder.rglob("predictions.jsonl"):
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            keys = [(line["arm"], line["question_id"]) for line in lines]
            if len(keys) != len(set(keys)):
                return f"{path.relative_to(folder)} has a question twice"
        asked = asked_log.read_text().splitlines()
        repeated = sum(count - judged["times"][line] for line, count in _counts(asked).items())
        return f"{repeated} questions were asked again" if repeated > 16 else ""

    def report_is_whole(folder: Path) -> str:
        """Where there are results there is the page that goes with them."""
        out = folder / "out"
        if not (out / "results.json").is_file():
            return ""
        others = ("report.html", "report.md", "speed.json", "questions.jsonl")
        missing = [name for name in others if not (out / name).is_file()]
        return f"results.json stands without {missing[0]}" if missing else ""

    judged: dict[str, Any] = {"times": {}, "log": asked_log}

    # What reads a target while, or after, it is replaced: the former one or the new one.
    def former(call: Callable[[Path], None], name: str) -> tuple[Callable[[Path], None], Callable[[Path], str]]:
        kept = scratch / f"former-{name}"
        kept.mkdir()
        call(kept)
        before = tree(kept)

        def prepare(folder: Path) -> None:
            shutil.copytree(kept, folder, dirs_exist_ok=True)

        def check(folder: Path) -> str:
            seen = {path: content for path, content in tree(folder).items() if not PARTIAL.search(path)}
            if not differs(before, seen):
                return ""
            new = after.get("tree") or after.setdefault("tree", tree(scratch / f"{name}-whole"))
            wrong = differs(new, seen)
            return f"neither the former nor the new one is there ({wrong})" if wrong else ""

        after: dict[str, Any] = {}
        return prepare, check

    def merge(adapter: Path) -> Callable[[Path], None]:
        return lambda folder: _merge(adapter, folder)

    def _merge(adapter: Path, folder: Path) -> None:
        merge_adapter(adapter, folder / "out", base=base, probes=REQUESTS[:1], overwrite=True)

    def gguf(adapter: Path) -> Callable[[Path], None]:
        def call(folder: Path) -> None:
            export_gguf(adapter, folder / "out.gguf", base=base, probes=REQUESTS[:1], overwrite=True)

        return call

    def peft(adapter: Path) -> Callable[[Path], None]:
        return lambda folder: void(export_peft(adapter, folder / "out", overwrite=True))

    members = scratch / "members"
    start = members / "start"
    short = steps.model_copy(update={"max_steps": 1, "evaluations": 1})
    train_reader(questions, world(), start, training=short, compare=False, **given)
    for seed in (1, 2, 3):
        train_reader(
            questions,
            world(),
            members / str(seed),
            reader=base,
            start_from=start,
            training=short.model_copy(update={"seed": seed}),
            compare=False,
        )

    def average(*seeds: int) -> Callable[[Path], None]:
        return lambda folder: void(
            average_adapters([members / str(seed) for seed in seeds], folder / "out", overwrite=True)
        )

    small = questions[:9]

    def calibrate(folder: Path) -> None:
        record = json.loads((folder / "out" / "rag_ft.json").read_text())
        if "training" in record:
            record["data"] = {**record["data"], "documents": [], "document_fingerprints": []}
            if (folder / "out" / "rag_ft.json").read_text() != json.dumps(record, indent=1) + "\n":
                raise SystemExit("the record was not prepared")
        calibrate_adapter(folder / "out", small, world(), reader=base)

    def uncalibrated(folder: Path) -> None:
        shutil.copytree(members / "1", folder / "out", ignore=shutil.ignore_patterns("training"))
        record = json.loads((folder / "out" / "rag_ft.json").read_text())
        record["data"] = {**record["data"], "documents": [], "document_fingerprints": []}
        record["threshold"] = {**record["threshold"], "value": 0.123} if "threshold" in record else {"value": 0.123}
        (folder / "out" / "rag_ft.json").write_text(json.dumps(record, indent=1) + "\n")

    def agree(folder: Path) -> str:
        """A card, where there is one, tells of the record's threshold."""
        from rag_ft.training.card import model_card

        card = folder / "out" / "README.md"
        record = json.loads((folder / "out" / "rag_ft.json").read_text())
        if record["threshold"]["value"] == 0.123 or not card.is_file():
            return ""
        config = json.loads((folder / "out" / "adapter_config.json").read_text())
        same = card.read_text() == model_card(record, config["base_model_name_or_path"])
        return "" if same else "the card tells of another threshold"

    made = [
        Target("train", train),
        Target("train-patience", patient),
        Target("train-curve", curve),
        Target(
            "eval",
            judge,
            reset,
            report_is_whole,
            frozenset({"speed.json", "memory.json", "report.html", "report.md"}),
            after=once,
            state=judged,
        ),
    ]
    for name, call in (("merge", merge), ("gguf", gguf), ("peft", peft)):
        prepare, check = former(call(one), name)
        made.append(Target(name, call(two), prepare, check))
    prepare, check = former(average(1, 2), "average")
    made.append(Target("average", average(2, 3), prepare, check))
    made.append(Target("calibrate", calibrate, uncalibrated, agree))
    return made


def _layouts() -> list[tuple[str, str, str, dict[str, str], bool]]:
    """Name, target, what stands there before it (another target's output, or nothing), files of somebody else (a text,
    or `-> PLACE` for a link), and whether the call is to be refused.
    """
    run = json.dumps(dict.fromkeys(("examples", "prompt", "base", "lora", "training")))
    return [
        ("training/ of others", "train", "", {"out/training/notes.txt": "mine"}, True),
        ("README of others", "train", "", {"out/README.md": "mine"}, True),
        ("weights of others", "train", "", {"out/adapter_model.safetensors": "mine"}, True),
        ("adapter of others", "train", "", {"out/adapter_config.json": "{}", "out/rag_ft.json": "{}"}, True),
        ("training a link", "train", "", {"out/training": "-> elsewhere"}, True),
        ("best a link", "train", "", {"out/training/run.json": run, "out/training/best": "-> elsewhere"}, True),
        ("last a link", "train", "train", {"out/training/last": "-> elsewhere"}, True),
        ("checkpoints a link", "train", "train", {"out/training/checkpoints": "-> elsewhere"}, True),
        ("a checkpoint a link", "train", "train", {"out/training/checkpoints/checkpoint-3": "-> elsewhere"}, True),
        ("metrics a link", "train", "train", {"out/training/metrics.jsonl": "-> elsewhere/file"}, True),
        ("file in a checkpoint", "train", "train", {"out/training/checkpoints/checkpoint-3/thesis.txt": "mine"}, True),
        ("file in best", "train", "train", {"out/training/best/thesis.txt": "mine"}, True),
        ("run.json of others", "train", "", {"out/training/run.json": '{"mine": 1}'}, True),
        ("notes beside a run", "train", "train", {"out/notes.txt": "mine", "out/training/notes.txt": "mine"}, False),
        ("logs beside checkpoints", "train", "train", {"out/training/checkpoints/runs/log": "mine"}, False),
        ("report of others", "eval", "", {"out/report.html": "mine"}, True),
        ("results of others", "eval", "", {"out/results.json": "{}"}, True),
        ("run.json of others, eval", "eval", "", {"out/run.json": '{"mine": 1}'}, True),
        ("predictions of others", "eval", "", {"out/predictions.jsonl": "mine"}, True),
        ("memory of others", "eval", "", {"out/memory.json": "{}"}, True),
        ("development a link", "eval", "", {"out/development": "-> elsewhere"}, True),
        ("report a link", "eval", "", {"out/report.html": "-> elsewhere/file"}, True),
        ("tuning.json of others", "merge", "", {"out/tuning.json": "{}", "out/config.json": "{}"}, True),
        ("notes in a merge", "merge", "merge", {"out/notes.txt": "mine"}, True),
        ("folder in a merge", "merge", "merge", {"out/mine/file": "mine"}, True),
        ("link in a merge", "merge", "merge", {"out/vocab.json": "-> elsewhere/file"}, True),
        ("merge a link", "merge", "", {"out": "-> elsewhere"}, True),
        ("text named gguf", "gguf", "", {"out.gguf": "mine"}, True),
        ("gguf a link", "gguf", "", {"out.gguf": "-> elsewhere/file"}, True),
        ("gguf a folder", "gguf", "", {"out.gguf/file": "mine"}, True),
        ("adapter of others, export", "peft", "", {"out/adapter_config.json": "{}"}, True),
        ("notes in an export", "peft", "peft", {"out/notes.txt": "mine"}, True),
        ("notes in an average", "average", "average", {"out/notes.txt": "mine"}, True),
        ("average over a run", "average", "train", {"out/mine.txt": "mine"}, True),
    ]


def foreign(made: dict[str, Target], scratch: Path) -> Tally:
    """Nothing of somebody else's changes, and where a call is refused nothing at all."""
    tally = Tally("foreign files and links")
    models: dict[str, Path] = {}
    for name, target, before, files, refused in _layouts():
        folder = scratch / "foreign"
        shutil.rmtree(folder, ignore_errors=True)
        if before and before not in models:
            models[before] = scratch / f"{before}-model"
            models[before].mkdir()
            status, text = forked(lambda place=models[before], of=before: made[of].call(place), scratch / "said.txt")  # type: ignore[misc]
            if status:
                raise SystemExit(f"{before} failed\n{text[-2000:]}")
        if before:
            shutil.copytree(models[before], folder, symlinks=True)
        (folder / "elsewhere").mkdir(parents=True)
        (folder / "elsewhere" / "file").write_text("mine")
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            if content.startswith("-> "):
                if (folder / path).is_file():
                    (folder / path).unlink()
                elif (folder / path).is_dir():
                    shutil.rmtree(folder / path)
                (folder / path).symlink_to(folder / content.removeprefix("-> "))
            else:
                (folder / path).write_text(content)
        was = contents(folder)
        theirs = {path for path in was if path.startswith("elsewhere") or path in files}
        status, text = forked(lambda of=target, at=folder: made[of].call(at), scratch / "said.txt")  # type: ignore[misc]
        now = contents(folder)
        changed = [path for path in (was if refused else theirs) if was[path] != now.get(path)]
        if refused:
            changed += [path for path in now if path not in was]
        if changed:
            tally.failed(f"{name}: {changed[0]} is changed")
        elif status != (3 if refused else 0):
            tally.failed(f"{name}: ended with {status}: {text.strip()[-300:]}")
        else:
            tally.held()
    return tally


def contents(folder: Path) -> dict[str, Any]:
    """Every byte below a folder, and where links lead."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
    return found


def void(_: Any) -> None:
    """Nothing of a result."""


def _counts(lines: list[str]) -> dict[str, int]:
    return {line: lines.count(line) for line in set(lines)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=40, help="kills before a change, for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="targets by their names, or foreign, with commas")
    parser.add_argument(
        "--share", default="1/1", help="only this share of each attack, for several processes: 1/2, 2/2"
    )
    given = parser.parse_args()
    number, shares = map(int, given.share.split("/"))
    os.environ["PYTHONWARNINGS"] = "ignore"
    tallies: list[Tally] = []
    with tempfile.TemporaryDirectory(prefix="rag-ft-attack-") as name:
        scratch = Path(name)
        os.environ["RAG_FT_HOME"] = str(scratch / "home")
        made = targets(scratch)
        if not given.only or "foreign" in given.only.split(","):
            tallies.append(foreign({target.name: target for target in made}, scratch))
        for target in made:
            if given.only and target.name not in given.only.split(","):
                continue
            attack = Attack(target, scratch, given.count, given.seed, slice(number - 1, None, shares))
            if target.name == "eval":
                target.state["times"] = _counts(target.state["log"].read_text().splitlines())
            tallies += attack.kills()
            tallies.append(attack.full_disks())
    return show(tallies)


if __name__ == "__main__":
    sys.exit(main())
