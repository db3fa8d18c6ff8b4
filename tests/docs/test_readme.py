"""The README says what is true: every route has its row, every link leads somewhere."""

import re
from pathlib import Path

import pytest

from arriero import compose
from arriero.config import Config
from arriero.dialects.servers import SERVERS
from arriero.dialects.vendors import VENDORS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def rows() -> dict[str, str]:
    """The paths of the HTTP table, each with what its row says of the state."""
    table = README.split("## What works today")[1].split("| backend kind |")[0]
    found: dict[str, str] = {}
    for line in table.splitlines():
        if line.startswith("| `"):
            paths, _, state = (cell.strip() for cell in line.strip("|").split("|"))
            found.update(dict.fromkeys(re.findall(r"`([^`]+)`", paths), state))
    return found


def test_every_route_has_its_row() -> None:
    documented = {path.replace("{id}", "*") for path, state in rows().items() if state != "not yet"}
    served = {route.path for route in compose.build(Config()).table.routes}
    below = tuple(path[:-1] for path in documented if path.endswith("*"))
    assert {path for path in served if path not in documented and not path.startswith(below)} == set()


def test_no_row_promises_a_route_that_is_not_there() -> None:
    served = {route.path for route in compose.build(Config()).table.routes}
    for path, state in rows().items():
        if state == "not yet":
            assert not any(route == path or (path.endswith("*") and route.startswith(path[:-1])) for route in served), (
                path
            )
        else:
            wanted = path.replace("{id}", "*")
            assert any(route == wanted or route.startswith(wanted.rstrip("*")) for route in served), path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


TITLES = {profile.title.removesuffix(" AI") for profile in VENDORS}


def test_the_backends_of_kind_openai_have_every_vendor() -> None:
    (row,) = re.findall(r"^\| `openai` \|(.*)$", README, re.MULTILINE)
    named = {name.strip() for name in row.partition("|")[0].split(",")}
    assert named >= TITLES


def test_the_changelog_counts_vendors_and_servers() -> None:
    text = " ".join((ROOT / "CHANGELOG.md").read_text().split())
    vendors, names, servers = re.findall(r"Profiles of (\d+) vendors \(([^)]*)\) and (\d+) kinds of servers", text)[0]
    assert (int(vendors), set(names.split(", "))) == (len(TITLES), TITLES)
    # The engine is arriero's own, and `generic` is none.
    assert int(servers) == len({server.name for server in SERVERS} - {"engine", "generic"})
