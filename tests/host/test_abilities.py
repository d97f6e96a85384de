"""`stackd doctor` tries out what the kernel can do and leaves nothing behind."""

import pytest

from stackd.host import abilities, preflight

pytestmark = pytest.mark.host


async def test_this_machine_can_be_a_node() -> None:
    findings = [*preflight.examine(), *await abilities.examine()]
    assert [f for f in findings if f.fatal] == []
    names = [f.subject for f in findings]
    assert len(names) == len(set(names))
    assert {"bridges", "VXLAN", "veth pairs", "nftables"} <= set(names)
