import contextlib
import gc
import subprocess
import sys
import threading
import time
import weakref

import pytest

from rag_ft.serving.threads import EndingThreadExecutor, in_ending_thread


def test_each_call_has_a_thread_of_its_own_that_ends_and_one_runs_at_a_time():
    executor, seen, running = EndingThreadExecutor("t"), [], []

    def call(i: int) -> int:
        running.append(i)
        seen.append((threading.current_thread(), list(running)))
        time.sleep(0.01)
        running.remove(i)
        return i * 10

    futures = [executor.submit(call, i) for i in range(5)]
    assert [future.result() for future in futures] == [0, 10, 20, 30, 40]
    executor.shutdown()
    assert [alone for _, alone in seen] == [[0], [1], [2], [3], [4]]
    threads = {thread for thread, _ in seen}
    assert len(threads) == 5
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def test_an_error_is_the_callers_and_the_next_call_runs():
    executor = EndingThreadExecutor("t")
    with pytest.raises(ZeroDivisionError):
        executor.submit(lambda: 1 / 0).result()
    assert executor.submit(lambda: 2).result() == 2


def test_shutdown_waits_or_cancels_and_then_nothing_is_taken():
    executor, release, done = EndingThreadExecutor("t"), threading.Event(), []
    first = executor.submit(lambda: (release.wait(5), done.append(1)))
    second = executor.submit(lambda: done.append(2))
    executor.shutdown(wait=False, cancel_futures=True)
    assert second.cancelled() and done == []
    release.set()
    first.result(5)
    executor.shutdown()
    assert done == [1]
    with pytest.raises(RuntimeError, match="accepts no more calls"):
        executor.submit(lambda: 3)


def test_a_call_that_is_cancelled_while_it_waits_is_passed_over():
    executor, release = EndingThreadExecutor("t"), threading.Event()
    executor.submit(release.wait, 5)
    second, third = executor.submit(lambda: 2), executor.submit(lambda: 3)
    assert second.cancel()
    release.set()
    assert third.result(5) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_memory_that_is_freed_stays_with_a_process_that_keeps_it():
    """Counted in page faults: blocks of 8 MB are mapped and cleared anew each time, unless they are kept."""
    code = (
        "import resource, sys\n"
        "from rag_ft.serving.engine import keep_memory\n"
        "if sys.argv[1] == 'keep': keep_memory()\n"
        "import ctypes; libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype = ctypes.c_void_p; libc.free.argtypes = [ctypes.c_void_p]\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def turn():\n"
        "    blocks = [libc.malloc(8 << 20) for _ in range(6)]\n"
        "    for one in blocks: ctypes.memset(one, 1, 8 << 20)\n"
        "    for one in blocks: libc.free(one)\n"
        "turn(); before = faults()\n"
        "for _ in range(5): turn()\n"
        "print(faults() - before)\n"
    )
    kept, plain = (
        int(subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True).stdout)
        for how in ("keep", "plain")
    )
    assert kept < 1000 < plain


def test_loading_gives_its_result_or_its_error():
    assert in_ending_thread(lambda: threading.current_thread() is not threading.main_thread())
    with pytest.raises(ValueError, match="no such model"):
        in_ending_thread(lambda: (_ for _ in ()).throw(ValueError("no such model")))


def test_a_call_that_fails_lets_go_at_once_of_what_it_had():
    class Index:
        pass

    def fails(index: Index) -> None:
        raise ValueError

    def call(index: Index) -> None:
        executor = EndingThreadExecutor("test")
        future = executor.submit(fails, index)
        with contextlib.suppress(ValueError):
            future.result()
        del future  # the error's traceback holds this frame, too
        executor.shutdown()

    index = Index()
    kept = weakref.ref(index)
    gc.disable()
    try:
        call(index)
        del index
        assert kept() is None
    finally:
        gc.enable()
