from stackd.core.spec.context import Context, Origin


def test_a_context_starts_with_nothing() -> None:
    context = Context(Origin.CLI)
    assert dict(context.variables) == {}
    assert dict(context.files) == {}
    assert not context.lenient
