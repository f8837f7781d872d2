import io
import logging
import sys

from rag_ft.progress import Progress, ProgressBar, quiet_transformers


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_a_terminal_each_stage_is_one_log_line(caplog):
    with caplog.at_level(logging.INFO, "rag_ft.progress"), ProgressBar(True) as bar:
        for progress in (Progress("reading", total=2), Progress("reading", 1, 2), Progress("writing")):
            bar.update(progress)
    assert caplog.messages == ["reading", "writing"]


def test_on_a_terminal_the_bar_is_drawn_and_removed(monkeypatch, caplog):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with caplog.at_level(logging.INFO, "rag_ft.progress"), ProgressBar(True) as bar:
        bar.update(Progress("reading", total=2))
        bar.update(Progress("reading", 1, 2))
    assert "reading" in terminal.getvalue() and caplog.messages == []
    drawn = len(terminal.getvalue())
    with ProgressBar(False) as bar:
        bar.update(Progress("silent"))
    assert len(terminal.getvalue()) == drawn


def test_the_bar_disappears_when_a_stage_is_over_and_returns_with_the_next(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with ProgressBar(True) as bar:
        bar.update(Progress("reading"))
        bar.update(Progress("reading", 2, 2))
        drawn = len(terminal.getvalue())
        bar.update(Progress("reading", 2, 2))
        assert len(terminal.getvalue()) == drawn and "reading" in terminal.getvalue()
        bar.update(Progress("writing"))
    assert "writing" in terminal.getvalue()[drawn:]


def test_libraries_are_as_talkative_after_it_as_before():
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled
    from transformers.utils import logging as transformers_logging

    def state():
        return (
            transformers_logging.get_verbosity(),
            transformers_logging.is_progress_bar_enabled(),
            are_progress_bars_disabled(),
        )

    before = state()
    with quiet_transformers():
        assert state() == (logging.ERROR, False, True)
    assert state() == before
