"""An index built by the workers of a real Ray cluster of this machine."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from in_process import ReadsHere
from logging_embedder import KILLS, LoggingEmbedder, embedded
from ray_cluster import cluster_or_skip

from rag_ft import Index
from rag_ft.errors import CorpusError, EngineError, UsageError
from rag_ft.indexing.distributed import blocks
from rag_ft.indexing.distributed.on_ray import RayBuild, _as_one_sentence
from rag_ft.indexing.storage.store import IndexStore, open_generation

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

FILES, BLOCK = 40, 4


@pytest.fixture(scope="module")
def cluster():
    yield from cluster_or_skip(cpus=2)


@pytest.fixture
def docs(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_FILES", BLOCK)
    folder = tmp_path / "docs"
    folder.mkdir()
    for i in range(FILES):
        (folder / f"d{i:02d}.md").write_text(f"# Rule {i}\n\nRule {i} says that thing {i} is kept for {i + 2} years.\n")
    return folder


def built(source, path, log, engine=None, seconds=0.0):
    embedder = LoggingEmbedder(log, seconds)
    return Index.build(source, path, embedder=embedder, progress=False, engine=engine)


def content(index):
    return {name: entry.sha256 for name, entry in index.manifest.files.items()}


def test_a_killed_worker_loses_nothing_and_repeats_less_than_a_block(cluster, docs, tmp_path):
    log, killed = tmp_path / "log", []

    def kill_one():
        while len({process for process, _ in embedded(log)}) < 2 or len(embedded(log)) < 12:
            time.sleep(0.01)
        killed.append(embedded(log)[-1][0])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    ahead = built(docs, tmp_path / "ahead", log, RayBuild(address=cluster.address, workers=2), seconds=0.5)
    killer.join(1)
    direct = built(docs, tmp_path / "direct", tmp_path / "other-log")
    assert content(ahead) == content(direct) and ahead.build_report.passages_embedded == FILES
    again = len(embedded(log)) - FILES
    assert killed and 0 <= again <= BLOCK, "more than the block of the killed worker was embedded again"
    assert not list((tmp_path / "ahead" / ".journal").rglob("*"))


def test_files_that_end_every_worker_end_the_build_and_the_rest_is_kept(cluster, docs, tmp_path):
    (docs / "d09.md").write_text(f"This {KILLS}, as the system does for want of memory.")
    log = tmp_path / "log"
    with pytest.raises(EngineError, match=r"^3 workers died over the same files \(.*more memory.*which resumes$"):
        built(docs, tmp_path / "ahead", log, RayBuild(address=cluster.address, workers=2))
    assert not (tmp_path / "ahead" / "manifest.json").exists()
    assert sum(KILLS in text for _, text in embedded(log)) == 3
    (docs / "d09.md").write_text("# Rule 9\n\nHarmless.\n")
    resumed = ReadsHere()
    ahead = built(docs, tmp_path / "ahead", tmp_path / "other-log", resumed)
    assert len(resumed.read) < FILES / BLOCK
    assert content(ahead) == content(built(docs, tmp_path / "direct", tmp_path / "other-log"))


def test_a_source_that_vanishes_half_way_is_said_by_the_worker(cluster, docs, tmp_path):
    class Vanishing(RayBuild):
        def parts(self, work, given):
            for part in super().parts(work, given):
                if docs.exists():
                    shutil.move(docs, tmp_path / "gone")
                yield part

    with pytest.raises(
        CorpusError, match=r"docs (is not there|has vanished while it was read) on \S+: give a path.*s$"
    ):
        built(docs, tmp_path / "ahead", tmp_path / "log", Vanishing(address=cluster.address, workers=1), seconds=0.3)
    assert not (tmp_path / "ahead" / "manifest.json").exists()


def test_an_embedder_that_cannot_be_sent_is_refused(cluster, docs, tmp_path):
    embedder = LoggingEmbedder(tmp_path / "log")
    embedder.lock = threading.Lock()
    with pytest.raises(UsageError, match="cannot be sent to workers"):
        Index.build(docs, tmp_path / "ahead", embedder=embedder, engine=RayBuild(address=cluster.address))


def test_what_a_library_raises_on_a_worker_is_one_sentence():
    import ray

    advice = "\nFailed to apply UDF transform after 1/1 attempts.\nTo change retry attempts, configure ..."
    raised = ray.exceptions.RayTaskError("submit", "Traceback ...", KeyError(f"nonsense{advice}"))
    with (
        pytest.raises(EngineError, match=r"^a worker failed \(KeyError: 'nonsense'\): see its log on the cluster"),
        _as_one_sentence(ray),
    ):
        raise raised.as_instanceof_cause()
    with pytest.raises(OSError, match="a full disk of this process"), _as_one_sentence(ray):
        raise OSError("a full disk of this process")


def test_the_command_builds_the_index_of_the_packaged_embedder(cluster, docs, tmp_path):
    command = [sys.executable, "-m", "rag_ft", "index", "build", "docs"]
    on_ray = ["--engine", "ray", "--address", cluster.address, "--workers", "1", "--json"]
    # In processes of their own: PyTorch and Ray in the process of these tests, with what they loaded before, crashed.
    done = subprocess.run([*command, "ahead", *on_ray], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and len(json.loads(done.stdout)["added"]) == FILES
    subprocess.run([*command, "direct"], cwd=tmp_path, check=True, capture_output=True)
    ahead, direct = (open_generation(IndexStore(tmp_path / name), verify="full") for name in ("ahead", "direct"))
    assert ahead.manifest.fingerprint == direct.manifest.fingerprint
    assert [*ahead.passages_of(7)] == [*direct.passages_of(7)] and len(ahead) == len(direct)
    np.testing.assert_allclose(ahead.vectors.vectors, direct.vectors.vectors, atol=1e-5)


def test_no_cluster_at_the_address_is_said_and_nothing_is_left(docs, tmp_path):
    with pytest.raises(EngineError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 \(Connection refused\): start"):
        built(docs, tmp_path / "ahead", tmp_path / "log", RayBuild(address="127.0.0.1:1"))
    assert not (tmp_path / "ahead" / "manifest.json").exists() and not embedded(tmp_path / "log")
    with pytest.raises(UsageError, match="workers is 0"):
        RayBuild(workers=0)
