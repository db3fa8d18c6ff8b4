"""`python -m benchmarks.uncounted serve ...`: arriero that counts nothing. For the benchmark alone: what counting costs
is what this one does not spend. The calls stay, and do nothing.
"""

from arriero.cli import main
from arriero.gateway.tally import Tally


def leave_out(kind: type, *names: str) -> None:
    """From now on, in this process, these methods do nothing."""
    for name in names:
        assert hasattr(kind, name), f"the benchmark measures what is gone: {kind.__name__}.{name}"
        setattr(kind, name, _nothing)


def _nothing(*_: object, **__: object) -> None: ...


if __name__ == "__main__":
    leave_out(Tally, "attempt", "record")
    main()
