from stackd.core.spec import Context, Origin
from stackd.core.spec.deploy import Limits
from stackd.core.spec.networks import AttachmentSection
from stackd.core.spec.service import ServiceSection
from stackd.core.spec.stack import StackSection
from stackd.core.spec.validation import section_at
from tests.unit.core.spec.stacks import errors, spec, warnings


def test_sections_are_found_by_path() -> None:
    assert section_at(()) is StackSection
    assert section_at(("services", "web")) is ServiceSection
    assert section_at(("services", "web", "deploy", "resources", "limits")) is Limits
    assert section_at(("services", "web", "networks", "front")) is AttachmentSection
    assert section_at(("services", "web", "image")) is None
    assert section_at(("services", "web", "none", "deeper")) is None


def test_all_problems_of_all_kinds_at_once() -> None:
    text = """services:
  a: {image: x, prots: [], networks: [none]}
  b: {depends_on: [zz], replicas: 1}
  c: {image: x, volumes: ["v:/v", "w:/w"], deploy: {replicas: x}, depends_on: [b]}
volumes: {v: {driver: nfs}}
"""
    assert errors(text) == [
        "2:17 unknown key prots: did you mean ports?",
        "2:39 none is not declared: add it under `networks:`",
        "3:6 image is missing",
        "3:25 unknown key replicas",
        "4:35 the volume 'w' is not declared: add it under `volumes:`",
        "4:63 'x' is not whole: write a whole number",
        "5:23 'nfs' is unknown: use local",
    ]


def test_lenient_excuses_known_keys_only() -> None:
    context = Context(Origin.CLI, lenient=True)
    text = "services: {a: {image: x, privileged: true, expose: [1], prots: []}}"
    assert errors(text, context) == ["1:57 unknown key prots: did you mean ports?"]
    found = warnings(text, context)
    assert [line.split(";")[1] for line in found] == [" it is left out"] * 2
    assert spec(text.replace(", prots: []", ""), context).services["a"].container.image == "x"


def test_long_unknown_keys_are_cut() -> None:
    (found,) = errors("services: {a: {image: x}}\n" + "k" * 1000 + ": 1")
    assert len(found) < 100
