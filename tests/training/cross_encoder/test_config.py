import pytest
from pydantic import ValidationError

from rag_ft.training.cross_encoder.config import FROM_CROSS_ENCODER, FROM_EMBEDDER, CrossEncoderConfig


def test_rates_follow_what_a_run_starts_from_unless_they_are_given():
    assert CrossEncoderConfig().rates(tuned_before=True) == FROM_CROSS_ENCODER
    assert CrossEncoderConfig().rates(tuned_before=False) == FROM_EMBEDDER
    assert CrossEncoderConfig(encoder_rate=0.5).rates(tuned_before=True) == (0.5, FROM_CROSS_ENCODER.heads)


@pytest.mark.parametrize("setting", [{"epochs": 0}, {"passages": 1}, {"encoder_rate": 0}, {"unknown": 1}])
def test_a_setting_out_of_range_is_refused(setting):
    with pytest.raises(ValidationError):
        CrossEncoderConfig(**setting)
