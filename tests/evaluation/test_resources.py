import subprocess
import sys

from rag_ft.evaluation.resources import Memory, MemoryWatch

_PEAK = """
import numpy as np
from rag_ft.evaluation.resources import MemoryWatch
with MemoryWatch() as watch:
    before = watch.peak.process_bytes
    block = np.ones(40_000_000)  # 320 MB, touched
    for _ in range(20):
        block += 1
    del block
    peak = watch.peak.process_bytes
print(peak - before)
"""


def test_a_peak_that_is_gone_again_is_seen():
    # A process of its own: the resident memory of one that ran other tests can shrink meanwhile.
    run = subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, text=True, check=True)
    assert int(run.stdout) > 250e6


def test_peaks_are_kept_apart_and_the_higher_one_stays():
    peak, other = Memory(process_bytes=5, device_bytes=3), Memory(process_bytes=4, device_bytes=9)
    assert peak.with_peak(other) == Memory(process_bytes=5, device_bytes=9)
    assert peak.with_peak(None) == peak
    assert Memory(process_bytes=1).with_peak(Memory(process_bytes=2)) == Memory(process_bytes=2)


def test_a_gpus_peak_is_torchs_own_and_counted_again_by_every_watch(monkeypatch):
    from rag_ft.evaluation import resources

    class Cuda:
        highest = 9_000

        def reset_peak_memory_stats(self):
            self.highest = 7_000

        def max_memory_allocated(self):
            return self.highest

    assert MemoryWatch().peak.device_bytes is None  # torch is not on a GPU here, or not loaded at all
    cuda = Cuda()
    monkeypatch.setattr(resources, "_cuda", lambda: cuda)
    with MemoryWatch() as watch:
        assert watch.peak.device_bytes == 7_000
