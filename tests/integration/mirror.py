"""The app `projects/mirror.py` under a name of a test's own."""

from __future__ import annotations

from pathlib import Path

SOURCE = Path(__file__).parent / "projects" / "mirror.py"


def mirror(
    folder: Path,
    name: str,
    version: str = "one",
    *,
    replicas: int = 1,
    affinity: bool = False,
) -> str:
    """The path of a file with the app; its instances write their marks to ``folder``."""
    text = SOURCE.read_text()
    for before, after in (
        ('VERSION = "one"', f"VERSION = {version!r}"),
        ('NAME = "mirror"', f"NAME = {name!r}"),
        ('MARKS = ""', f"MARKS = {str(folder)!r}"),
        ("REPLICAS = 1", f"REPLICAS = {replicas}"),
        ("AFFINITY = False", f"AFFINITY = {affinity}"),
    ):
        assert before in text
        text = text.replace(before, after)
    path = folder / f"{name.replace('-', '_')}_app.py"
    path.write_text(text)
    return str(path)
