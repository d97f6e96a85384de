"""A cluster whose manager answers from fakes, and a shell against it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.component.cli.manager import SPEC, Manager, serving
from tests.component.cli.shell import Shell


@pytest_asyncio.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    async with serving(tmp_path) as (one, _):
        yield one


@pytest.fixture
def shell(manager: Manager, capfd: pytest.CaptureFixture[str]) -> Shell:
    return Shell(manager.data, capfd)


@pytest.fixture
def stack_file(tmp_path: Path) -> str:
    path = tmp_path / "shop.stack.yml"
    path.write_text(SPEC)
    return str(path)
