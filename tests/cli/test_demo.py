import pytest
from commands import invoke

from rag_ft.answering.reader import Reader
from rag_ft.cli.demo import UNTUNED_THRESHOLD
from rag_ft.errors import WeightsError


@pytest.mark.parametrize(
    ("arguments", "threshold"),
    [((), None), (("--adapter", "none"), UNTUNED_THRESHOLD), (("--reader", "some/model"), UNTUNED_THRESHOLD)],
)
def test_an_untuned_reader_gets_a_threshold_at_which_it_answers(monkeypatch, world, arguments, threshold):
    index, _ = world
    thresholds = []

    def load(name, **settings):
        thresholds.append(settings["threshold"])
        raise WeightsError("not loaded here")

    monkeypatch.setattr("rag_ft.indexing.index.Index.build", lambda *_: index)
    monkeypatch.setattr(Reader, "from_pretrained", load)
    assert isinstance(invoke("demo", *arguments).exception, WeightsError)
    assert thresholds == [threshold]
