"""The bytes of `.env` as text, however they were written. What stands in it is parsed in `environment`."""

import codecs
from pathlib import Path

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read(path: Path) -> tuple[str, list[str]]:
    """The text of the file and a warning for each line that is none; `""` where there is no file.

    A line that cannot be read becomes an empty one: the others count, under their own numbers. UTF-16 is what a
    redirection writes in some shells.
    """
    try:
        data = path.read_bytes() if path.is_file() else b""
    except OSError as error:
        return "", [f"{path.name}: cannot be read and is ignored ({error.strerror or type(error).__name__})"]
    if data.startswith(_UTF_16):
        return data.decode("utf-16", errors="ignore"), []
    lines: list[str] = []
    warnings: list[str] = []
    for number, line in enumerate(data.removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            lines.append("")
            if not line.lstrip().startswith(b"#"):
                warnings.append(f"{path.name}:{number}: is not UTF-8 text and is ignored")
    return "\n".join(lines), warnings
