import pytest

from arriero.dialects.ollama.sizes import parameter_size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, ""),
        (0, ""),
        (12, "12"),
        (999, "999"),
        (1_000, "1K"),
        (12_345, "12K"),
        (935_040, "935K"),
        (999_499, "999K"),
        (999_500, "1000K"),
        (1_000_000, "1M"),
        (1_500_000, "1.50M"),
        (22_713_216, "22.71M"),
        (137_000_000, "137M"),
        (494_032_768, "494.03M"),
        (999_999_999, "1000.00M"),
        (1_235_814_432, "1.2B"),
        (8_000_000_000, "8B"),
        (8_030_261_248, "8.0B"),
        (70_553_706_496, "70.6B"),
        (1_000_000_000_000, "1000B"),
    ],
)
def test_parameter_sizes_are_written_as_ollama_does(count: int | None, text: str) -> None:
    assert parameter_size(count) == text
