import pytest

from arriero.canonical.sizes import file_size


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KB"),
        (99_900, "99.9 KB"),
        (99_960, "100 KB"),
        (130_720, "131 KB"),
        (999_400, "999 KB"),
        (999_600, "1.0 MB"),
        (4_683_073_184, "4.7 GB"),
        (2_000_000_000_000_000, "2000 TB"),
    ],
)
def test_sizes_of_files(size_bytes: int, text: str) -> None:
    assert file_size(size_bytes) == text
