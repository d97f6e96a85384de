"""The system call list: what must be there, what must not, and the rules with arguments."""

from typing import Any

import pytest

from stackd.core.container.seccomp import profile


def unconditional(found: dict[str, Any]) -> set[str]:
    return {
        name
        for rule in found["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule
        for name in rule["names"]
    }


FORBIDDEN = """
mount umount2 unshare setns pivot_root chroot keyctl add_key request_key bpf perf_event_open
io_uring_setup io_uring_enter userfaultfd kexec_load kexec_file_load init_module finit_module
delete_module open_by_handle_at name_to_handle_at swapon swapoff reboot settimeofday clock_settime
iopl ioperm quotactl acct fsopen fsmount move_mount open_tree mount_setattr syslog sethostname
personality socket clone clone3 uselib vm86 nfsservctl socketcall lookup_dcookie
""".split()


def test_forbidden_without_capabilities() -> None:
    found = profile("x86_64", ())
    assert found["defaultAction"] == "SCMP_ACT_ERRNO"
    assert found["defaultErrnoRet"] == 1
    assert found["architectures"] == ["SCMP_ARCH_X86_64"]
    assert unconditional(found) & set(FORBIDDEN) == set()


def test_usual_programs_have_theirs() -> None:
    needed = "read write openat execve mmap futex epoll_wait accept4 sendmsg fork vfork rseq prctl"
    assert set(needed.split()) <= unconditional(profile("x86_64", ()))


def test_arguments_are_limited() -> None:
    rules = [rule for rule in profile("x86_64", ())["syscalls"] if "args" in rule]
    families = {rule["args"][0]["value"] for rule in rules if rule["names"] == ["socket"]}
    assert families == {1, 2, 10, 16, 17}
    (clone,) = (rule for rule in rules if rule["names"] == ["clone"])
    assert clone["args"] == [
        {"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    ]
    (clone3,) = (r for r in profile("x86_64", ())["syscalls"] if r["names"] == ["clone3"])
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


@pytest.mark.parametrize(
    ("capability", "call"),
    [("CAP_SYS_ADMIN", "mount"), ("CAP_SYS_CHROOT", "chroot"), ("CAP_SYSLOG", "syslog")],
)
def test_capabilities_bring_their_calls(capability: str, call: str) -> None:
    assert call not in unconditional(profile("x86_64", ()))
    assert call in unconditional(profile("x86_64", (capability,)))


def test_arm() -> None:
    found = profile("aarch64", ())
    assert found["architectures"] == ["SCMP_ARCH_AARCH64"]
    names = unconditional(found)
    assert "openat" in names
    assert not {"open", "fork", "arch_prctl"} & names
    with pytest.raises(KeyError):
        profile("riscv64", ())
