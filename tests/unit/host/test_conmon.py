"""runc's messages as sentences, and the monitor's command line."""

from pathlib import Path

import pytest

from stackd.errors import Rejected, Unavailable
from stackd.host import conmon, exec


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (
            'runc create failed: unable to start container process: exec: "x": executable file '
            "not found in $PATH",
            "The command 'x' is not in the image.",
        ),
        (
            'runc create failed: unable to start container process: exec: "/no": stat /no: '
            "no such file or directory",
            "The command '/no' is not in the image.",
        ),
        (
            "runc create failed: unable to start container process: "
            'exec: "/etc": permission denied',
            "The command '/etc' cannot be executed.",
        ),
        (
            "runc create failed: unable to start container process: container init was OOM-killed",
            "The container cannot be created: container init was OOM-killed.",
        ),
        ("", "The container cannot be created: runc gave no reason."),
    ],
)
def test_explain(message: str, cause: str) -> None:
    assert conmon.explain(message)[0] == cause


def test_exec_failures() -> None:
    assert exec.failure('exec failed: exec: "x": executable file not found in $PATH') == 127
    assert exec.failure('exec failed: exec: "/x": stat /x: no such file or directory') == 127
    assert exec.failure('exec failed: exec: "/x": permission denied') == 126
    assert exec.failure("cannot exec in a stopped container") is None


def test_command_line() -> None:
    monitor = conmon.Monitor(
        "abc", Path("/b/abc"), Path("/e"), Path("/r"), Path("/l/ctr.log"), 99, tty=True, stdin=True
    )
    argv = monitor.argv()
    assert argv[0] == conmon.CONMON
    assert argv[-2:] == ["-t", "-i"]
    assert argv[argv.index("-l") + 1] == "k8s-file:/l/ctr.log"
    assert argv[argv.index("--log-size-max") + 1] == "99"


@pytest.mark.parametrize(
    ("message", "again"),
    [
        ("", True),
        ("runc create failed: unable to start container process: unexpected EOF", True),
        ("parent closed synchronisation channel", True),
        ("read init-p: connection reset by peer", True),
        ("runc create failed: invalid rootfs: not an absolute path", False),
    ],
)
def test_what_was_killed_may_be_tried_again(message: str, again: bool) -> None:
    assert isinstance(conmon.failure(message), Unavailable if again else Rejected)
