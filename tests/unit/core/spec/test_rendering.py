from stackd.core.spec import Context, Origin, content_hash, render
from tests.unit.core.spec.stacks import document, loaded, spec

TEXT = document("environment: {B: 1, A: 2}\nsecrets: [pw]") + "secrets: {pw: {file: pw}}"


def test_equal_stacks_render_alike_and_without_secrets() -> None:
    context = Context(Origin.GIT, files={"pw": b"hunter2"})
    bundle = loaded(TEXT, context).bundle
    assert bundle
    text = render(bundle.spec)
    assert "hunter2" not in text
    assert "image: demo:1" in text
    other = spec(TEXT.replace("B: 1, A: 2", "A: 2, B: 1"), context)
    assert render(other) == text
    assert content_hash(other, {}) == content_hash(bundle.spec, {})


def test_the_hash_follows_declarations_and_versions() -> None:
    one, two = spec(document("")), spec(document("init: true"))
    hashes = {
        content_hash(one, {}),
        content_hash(two, {}),
        content_hash(one, {"config/a": "1"}),
        content_hash(one, {"config/a": "2"}),
    }
    assert len(hashes) == 4
    assert content_hash(one, {"a": "1", "b": "2"}) == content_hash(one, {"b": "2", "a": "1"})
