from stackd.core.network import naming


def test_names_on_the_host_carry_the_cluster_and_fit_the_kernel() -> None:
    assert naming.host_uplink("abcd1234", 65535) == "abcd1234u65535"
    assert naming.host_vxlan("abcd1234", "net00001") == "abcdvnet00001"
    assert len(naming.host_uplink("abcd1234", 65535)) <= 15


def test_tables_begin_with_a_letter_whatever_the_cluster() -> None:
    assert naming.data_table("1abcdefg") == "stackd_1abcdefg"
    assert naming.host_table("1abcdefg", 3) == "stackd_1abcdefg_3"
    assert naming.rule_comment("1abcdefg", 3) == "stackd 1abcdefg 3"


def test_own_links_are_told_from_others() -> None:
    own = (naming.host_uplink("abcdefgh", 12), naming.host_switch("abcdefgh"))
    assert all(naming.OWN_LINK.fullmatch(name) for name in own)
    for name in ("eth0", "docker0", "br-0123456789ab", "veth1234567", "wlp2s0"):
        assert not naming.OWN_LINK.fullmatch(name)
