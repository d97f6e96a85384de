"""Every scenario file says what is really seen. `STACKD_REWRITE=1 pytest tests/scenarios` writes
the files anew; read the difference before committing it."""

import os
from pathlib import Path

import pytest

from tests.scenarios import script

FILES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    expected = path.read_text()
    seen = script.run(expected)
    if os.environ.get("STACKD_REWRITE"):
        path.write_text(seen)
    else:
        assert seen == expected


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 12
