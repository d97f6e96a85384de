"""Writes `schemas/stack.schema.json` from the models of stack files: `make schema`.

`tests/architecture/test_schema.py` fails when the file is not what this would write.
"""

import json
from pathlib import Path

from stackd.core.spec import schema

TARGET = Path(__file__).parents[2] / "schemas" / "stack.schema.json"


def rendered() -> str:
    """The text of the file."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(rendered())
