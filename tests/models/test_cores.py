import os
import subprocess
import sys
import threading
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.models.cores import can_compute_alone, compute_alone, even_parts, run_side_by_side


@given(st.lists(st.floats(0, 100), max_size=30), st.integers(1, 8))
def test_parts_hold_everything_in_order_and_no_part_is_much_more_than_its_share(costs, most):
    parts = even_parts(costs, most)
    assert [i for part in parts for i in part] == list(range(len(costs)))
    assert len(parts) <= most and all(parts)
    if costs:
        assert max(sum(costs[i] for i in part) for part in parts) <= sum(costs) / most + max(costs) + 1e-6


def test_equal_work_is_cut_into_equal_parts():
    assert even_parts([3.0] * 8, 2) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert even_parts([0.0, 0.0], 2) == [[0, 1]]


@pytest.fixture
def two_processors():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(sys.platform != "linux", reason="PyTorch's OpenMP is reached through its Linux libraries")
def test_threads_compute_on_one_processor_each_and_the_others_as_before(two_processors):
    assert can_compute_alone()
    seen, together = [], threading.Barrier(2, timeout=30)

    def work():
        together.wait()  # both are at it at the same time
        torch.ones(300, 300) @ torch.ones(300, 300)
        seen.append((torch.get_num_threads(), threading.get_ident()))

    run_side_by_side([work, work], 2)
    assert [count for count, _ in seen] == [1, 1]
    assert len({ident for _, ident in seen}) == 2
    assert torch.get_num_threads() == 2
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [2]


def test_the_first_error_is_raised_and_what_had_not_begun_is_left():
    done, failed = [], threading.Event()

    def bad():
        failed.set()
        raise ValueError("no")

    def last():
        failed.wait()
        time.sleep(0.01)
        done.append(1)

    with pytest.raises(ValueError, match="no"):
        run_side_by_side([bad, *([last] * 50)], 2)
    assert len(done) < 50


def test_a_thread_that_computes_alone_gives_the_same_products():
    left, right = torch.randn(64, 64), torch.randn(64, 64)
    products = []

    def work():
        compute_alone()
        products.append(left @ right)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    torch.testing.assert_close(products[0], left @ right)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_has_threads_of_its_own():
    script = """
import os
from rag_ft.models.cores import run_side_by_side
done = []
run_side_by_side([lambda: done.append(1)] * 2, 2)
child = os.fork()
if not child:
    run_side_by_side([lambda: done.append(1)] * 2, 2)
    os._exit(len(done))
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=120, check=False).returncode == 4
