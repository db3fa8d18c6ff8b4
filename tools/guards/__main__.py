"""Run every guard over the repository: findings on stdout, exit code 1 if one fails."""

import sys
from pathlib import Path

from tools.guards import architecture, mirrors, sizes


def main(root: Path) -> int:
    """The exit code for the tree under `root`."""
    findings = sorted([*architecture.check(root), *mirrors.check(root), *sizes.check(root)])
    for finding in findings:
        print(finding)
    failed = sum(finding.fails for finding in findings)
    print(f"guards: {failed} broken, {len(findings) - failed} warned" if findings else "guards: all rules kept")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parents[2]))
