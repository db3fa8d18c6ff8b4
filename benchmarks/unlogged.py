"""`python -m benchmarks.unlogged serve ...`: arriero that writes no line of any exchange. For the benchmark alone."""

from arriero.cli import main
from arriero.gateway.journal import Journal
from benchmarks.uncounted import leave_out

if __name__ == "__main__":
    leave_out(Journal, "note")
    main()
