"""Looks whether this machine can be a node. Called by `up` and `doctor`; changes nothing."""

import os
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = {
    "runc": "runc",
    "conmon": "conmon",
    "skopeo": "skopeo",
    "nft": "nftables",
    "git": "git",
    "tini-static": "tini",
}
"""Program -> Debian package."""
FILE_SYSTEMS = ("overlay", "tmpfs")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `fatal`: nothing can run; `remedy` alone: a warning."""

    subject: str
    text: str
    fatal: bool = False
    remedy: str = ""


def examine() -> list[Finding]:
    """Everything that a node needs, in one go."""
    return [
        _root(),
        *_programs(),
        _file_systems(),
        _cgroups(),
        _forwarding(),
        _open_files(),
    ]


def _root() -> Finding:
    if os.geteuid() == 0:
        return Finding("user", "root")
    return Finding("user", "not root", fatal=True, remedy="Run this as root.")


def _programs() -> list[Finding]:
    found = []
    for program, package in PROGRAMS.items():
        place = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if place is None:
            remedy = f"Install it: apt-get install {package}"
            found.append(Finding(program, "missing", fatal=True, remedy=remedy))
        else:
            found.append(Finding(program, place))
    return found


def _file_systems() -> Finding:
    known = Path("/proc/filesystems").read_text().split()
    missing = [name for name in FILE_SYSTEMS if name not in known]
    if missing:
        remedy = f"Load it: modprobe {' '.join(missing)}"
        return Finding("file systems", f"no {', '.join(missing)}", fatal=True, remedy=remedy)
    return Finding("file systems", "overlay and tmpfs")


def _cgroups() -> Finding:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return Finding("cgroups", "version 2")
    missing = [
        name
        for name in ("memory", "pids", "cpu", "devices", "freezer")
        if not Path("/sys/fs/cgroup", name).is_dir()
    ]
    if missing:
        remedy = "Mount these controllers below /sys/fs/cgroup."
        return Finding("cgroups", f"without {', '.join(missing)}", fatal=True, remedy=remedy)
    return Finding("cgroups", "version 1 or hybrid")


def _forwarding() -> Finding:
    if Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1":
        return Finding("forwarding", "on")
    return Finding("forwarding", "off; it is switched on while a cluster runs")


def _open_files() -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        remedy = "Raise the hard limit of open files to at least 4096."
        return Finding("open files", f"at most {hard}", remedy=remedy)
    return Finding("open files", f"at most {hard}")
