"""The tiny model as a real `LoadedModel`, for every test of answering."""

import pytest
from tiny_reader import PLAN

from rag_ft.models.loading import LoadedModel, load_model


@pytest.fixture(scope="session")
def loaded(tiny_llama_dir) -> LoadedModel:
    return load_model(str(tiny_llama_dir), plan=PLAN)
