from pathlib import Path

from arriero.config import Config, Flags, load
from arriero.config.listing import Row, rows

FILE = """
server: {port: 8080}
backends:
  - name: lab
    kind: openai
    profile: vllm
    url: http://h/v1
    headers: {X-Team: lab}
    models: {capabilities: {"q*": [completion, tools]}}
filters:
  - {models: "q*", defaults: {temperature: 1}}
"""


def test_rows(tmp_path: Path) -> None:
    (tmp_path / "arriero.yaml").write_text(FILE)
    listed = rows(load(Flags(host="::1"), {"NO_PROXY": "a,b"}, tmp_path, tmp_path))
    shown = [row for row in listed if row.origin != "default"]
    assert shown == [
        Row("server.host", "::1", "--host"),
        Row("server.port", "8080", "arriero.yaml:2"),
        Row("backends.lab.name", "lab", "arriero.yaml:4"),
        Row("backends.lab.models.capabilities", "q*: completion, tools", "arriero.yaml:9"),
        Row("backends.lab.headers", "X-Team: set (from arriero.yaml:8)", "arriero.yaml:8"),
        Row("backends.lab.kind", "openai", "arriero.yaml:5"),
        Row("backends.lab.url", "http://h/v1", "arriero.yaml:7"),
        Row("backends.lab.profile", "vllm", "arriero.yaml:6"),
        Row("filters.0.models", "q*", "arriero.yaml:11"),
        Row("filters.0.defaults.temperature", "1", "arriero.yaml:11"),
        Row("proxy.no_proxy", "a, b", "NO_PROXY"),
    ]
    assert Row("timeouts.total", "-", "default") in listed
    assert Row("routing.prefer_loaded", "true", "default") in listed


def test_every_setting_has_a_row(tmp_path: Path) -> None:
    listed = rows(load(Flags(), {}, tmp_path, tmp_path))
    for section in Config.model_fields:
        if section != "backends":
            assert any(row.name == section or row.name.startswith(f"{section}.") for row in listed)
    assert any(row.name == "backends.local.keep_alive" for row in listed)
