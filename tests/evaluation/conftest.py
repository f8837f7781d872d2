"""Fixtures of the evaluation's tests."""

import pytest


@pytest.fixture(scope="package")
def prepared(tmp_path_factory):
    """Index and recipe over the little world, for arms without models."""
    from little_evaluation import prepare

    return prepare(tmp_path_factory.mktemp("little-evaluation"))
