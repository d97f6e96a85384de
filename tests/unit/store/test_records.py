"""Every record class of the model has a table in the store, or says that it is never stored."""

import importlib
import pkgutil
from collections.abc import Iterator

from stackd.core import model
from stackd.core.model.record import Record
from stackd.store.records import BY_TABLE, RECORDS, in_memory


def subclasses(kind: type[Record]) -> Iterator[type[Record]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def test_every_record_of_the_model_is_listed() -> None:
    for module in pkgutil.iter_modules(model.__path__, "stackd.core.model."):
        importlib.import_module(module.name)
    found = {
        kind
        for kind in subclasses(Record)
        if kind.__module__.startswith("stackd.core.model.") and not in_memory(kind.TABLE)
    }
    assert found == set(RECORDS)


def test_no_two_records_share_a_table() -> None:
    assert len(BY_TABLE) == len(RECORDS)
