"""Containers on the real kernel: start, end, limits, users, files, volumes, removal."""

import signal
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from stackd.core.model.container import Mount, MountKind, Resources, Ulimit
from stackd.core.model.driver import FileContent, ImageConfig, LocalImage
from stackd.errors import Refused, Rejected
from stackd.host import logfiles
from tests.host import rig as rigs

pytestmark = pytest.mark.host


@pytest.fixture
async def rig() -> AsyncIterator[rigs.Rig]:
    async with rigs.rig() as made:
        yield made


async def test_output_and_exit_code(rig: rigs.Rig) -> None:
    task = await rig.run("sh", "-c", "echo out; echo err >&2; exit 7")
    ended = await rig.runtime.wait(task)
    assert (ended.code, ended.signal, ended.oom_killed, ended.lost) == (7, 0, False, "")
    lines = [
        (line.stream, line.text)
        async for page in rig.runtime.logs(task, follow=True, tail=-1, since=0)
        for line in page
    ]
    assert sorted(lines) == [("stderr", b"err"), ("stdout", b"out")]
    assert await rig.runtime.wait(task) == ended
    await rig.runtime.remove(task)
    assert rigs.traces(rig.layout, task) == []
    assert "out" in await rig.text(task)
    assert logfiles.trim(rig.layout.logs, (), most=0) == [task]
    assert await rig.text(task) == ""


async def test_a_signal_and_a_chosen_137_are_told_apart(rig: rigs.Rig) -> None:
    killed = await rig.run("sleep", "60")
    chosen = await rig.run("sh", "-c", "exit 137")
    await rig.runtime.signal(killed, "SIGKILL")
    ended = await rig.runtime.wait(killed)
    assert (ended.code, ended.signal) == (137, signal.SIGKILL)
    assert (await rig.runtime.wait(chosen)).signal == 0


async def test_real_time_signals(rig: rigs.Rig) -> None:
    script = f"trap 'exit 3' {signal.SIGRTMIN + 3}; echo set; while :; do usleep 10000; done"
    task = await rig.run("sh", "-c", script)
    log = rig.layout.logs / task / "ctr.log"
    await rigs.until(lambda: log.exists() and b"set" in log.read_bytes())
    await rig.runtime.signal(task, "SIGRTMIN+3")
    assert (await rig.runtime.wait(task)).code == 3


async def test_a_stop_signal_sent_at_once_is_not_lost_with_init(rig: rigs.Rig) -> None:
    task = await rig.run("sleep", "60", init=True)
    await rig.runtime.signal(task, "TERM")
    ended = await rig.runtime.wait(task)
    assert ended.code == 128 + signal.SIGTERM
    await rig.runtime.signal(task, "TERM")
    with pytest.raises(Refused, match="unknown"):
        await rig.runtime.signal(task, "SIGNOPE")


async def test_memory_limit_kills_and_says_so(rig: rigs.Rig) -> None:
    task = await rig.run("tail", "/dev/zero", resources=Resources(memory=16 << 20))
    ended = await rig.runtime.wait(task)
    assert (ended.code, ended.oom_killed) == (137, True)


async def test_limits_are_those_asked_for(rig: rigs.Rig) -> None:
    script = (
        "ulimit -n; ulimit -c; cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max"
    )
    task = await rig.run(
        *(
            "sh",
            "-c",
            f"{script} cpu/cpu.cfs_quota_us cpu/cpu.shares; cat /proc/self/oom_score_adj",
        ),
        resources=Resources(cpus=0.5, memory=64 << 20, pids=77),
        ulimits={"nofile": Ulimit(soft=333, hard=444)},
    )
    assert (await rig.output(task)).split() == [
        *("333", "0", str(64 << 20), "77", "50000", "1024", "100"),
    ]


async def test_fork_bomb_is_bounded(rig: rigs.Rig) -> None:
    script = "i=0; while [ $i -lt 60 ]; do sleep 20 & i=$((i+1)); done; echo never"
    task = await rig.run("sh", "-c", script, resources=Resources(pids=20))
    assert "can't fork" in await rig.output(task)


async def test_baseline_profile(rig: rigs.Rig) -> None:
    script = (
        "grep -E 'CapEff|CapBnd|CapInh|CapAmb|NoNewPrivs|Seccomp:' /proc/self/status;"
        "mount -t tmpfs x /tmp; unshare -m true; chroot / true; mknod /tmp/d b 8 0;"
        "echo 1 > /proc/sys/kernel/core_pattern; cat /proc/kcore; hostname other; echo done"
    )
    text = await rig.output(await rig.run("sh", "-c", script))
    fields = dict(line.split(":\t") for line in text.splitlines() if ":\t" in line)
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0x5FB
    assert int(fields["CapInh"], 16) == int(fields["CapAmb"], 16) == 0
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert text.count("not permitted") + text.count("denied") + text.count("Read-only") >= 6
    assert "done" in text.splitlines()  # the two streams are only roughly in order


async def test_capabilities_added_and_dropped(rig: rigs.Rig) -> None:
    task = await rig.run("grep", "CapEff", "/proc/self/status", cap_drop=("ALL",))
    assert int((await rig.output(task)).split()[1], 16) == 0
    task = await rig.run("chroot", "/", "true", cap_add=("SYS_CHROOT",))
    assert (await rig.runtime.wait(task)).code == 0
    with pytest.raises(Rejected, match="unknown"):
        await rig.run("true", cap_add=("EVERYTHING",))


async def test_users_by_number_and_by_name_of_the_image(rig: rigs.Rig) -> None:
    assert (await rig.output(await rig.run("id", user="app"))).strip() == (
        "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)"
    )
    assert "uid=4711 gid=12" in await rig.output(await rig.run("id", user="4711:12"))
    with pytest.raises(Rejected, match="not in /etc/passwd"):
        await rig.run("id", user="nobody-here")


async def test_environment_hostname_and_etc(rig: rigs.Rig) -> None:
    script = "echo $GREETING $HOSTNAME $PWD; cat /etc/hosts /etc/resolv.conf /etc/hostname"
    task = await rig.run(
        *("sh", "-c", script),
        environment={"GREETING": 'hello\n"w"orld'},
        working_dir="/made/here",
        extra_hosts=("db:10.0.0.7",),
    )
    text = await rig.output(task)
    assert text.startswith('hello "w"orld w-1 /made/here\n')
    assert "10.9.9.9\tw-1" in text
    assert "10.0.0.7\tdb" in text
    assert "nameserver 10.9.9.1" in text
    assert text.endswith("w-1\n")


async def test_secrets_are_in_memory_and_only_for_the_user(rig: rigs.Rig) -> None:
    secret = FileContent("/run/secrets/key", b"top-secret-value", True, None, None, None)
    config = FileContent("/etc/app.conf", b"conf", False, 5, 6, 0o640)
    script = (
        "exec 2>&1; stat -c '%u %g %a %n' /run/secrets/key /etc/app.conf; cat /run/secrets/key;"
        "echo x > /run/secrets/key; cat /etc/app.conf; stat -f -c %T /run/secrets/key"
    )
    task = await rig.run("sh", "-c", script, user="app", files=(secret, config))
    text = await rig.output(task)
    assert "1000 1000 400 /run/secrets/key\n5 6 640 /etc/app.conf\n" in text
    assert "top-secret-value" in text
    assert "Read-only" in text
    assert "can't open '/etc/app.conf': Permission denied" in text
    assert text.rstrip().endswith(("tmpfs", "ramfs"))
    upper = rig.layout.containers / task / "upper"
    kept = [path.read_bytes() for path in upper.rglob("*") if path.is_file()]
    assert all(b"top-secret" not in data for data in kept)
    root_reads = await rig.run("stat", "-c", "%a", "/run/secrets/key", files=(secret,))
    assert await rig.output(root_reads) == "444\n"


async def test_read_only_root_with_tmpfs(rig: rigs.Rig) -> None:
    tmpfs = Mount(kind=MountKind.TMPFS, target="/scratch", size=1 << 20, mode=0o700)
    script = "touch /etc/x; touch /scratch/y && ls /scratch; df -k /scratch | tail -1"
    text = await rig.output(await rig.run("sh", "-c", script, read_only=True, mounts=(tmpfs,)))
    assert "Read-only file system" in text
    assert "y" in text.splitlines()
    assert " 1024 " in text


async def test_tmpfs_has_the_mode_asked_for_also_over_a_folder_of_the_image(rig: rigs.Rig) -> None:
    mounts = tuple(
        Mount(kind=MountKind.TMPFS, target=target, mode=0o1733) for target in ("/home/app", "/new")
    )
    task = await rig.run("stat", "-c", "%a", "/home/app", "/new", mounts=mounts)
    assert await rig.output(task) == "1733\n1733\n"


async def test_named_volume_is_filled_from_the_image_once_and_kept(rig: rigs.Rig) -> None:
    mount = Mount(kind=MountKind.VOLUME, source="data", target="/data")
    names = {"data": "s_data"}
    script = "cat /data/first; stat -c %u /data/first; echo more >> /data/first"
    first = await rig.run("sh", "-c", script, mounts=(mount,), volumes=names)
    assert await rig.output(first) == "from the image\n1000\n"
    await rig.runtime.remove(first)
    second = await rig.run("cat", "/data/first", mounts=(mount,), volumes=names)
    assert await rig.output(second) == "from the image\nmore\n"
    empty = await rig.run(
        *("ls", "/data"),
        user="app",
        mounts=(replace_mount(mount, nocopy=True),),
        volumes={"data": "s_other"},
    )
    assert await rig.output(empty) == ""


def replace_mount(mount: Mount, *, nocopy: bool) -> Mount:
    return Mount(kind=mount.kind, source=mount.source, target=mount.target, nocopy=nocopy)


async def test_volume_subpath_follows_no_symlink(rig: rigs.Rig) -> None:
    whole = Mount(kind=MountKind.VOLUME, source="v", target="/v", nocopy=True)
    names = {"v": "s_v"}
    script = "mkdir /v/part; echo inside > /v/part/f; ln -s /etc /v/link"
    await rig.output(await rig.run("sh", "-c", script, mounts=(whole,), volumes=names))
    part = Mount(kind=MountKind.VOLUME, source="v", target="/p", subpath="part")
    task = await rig.run("cat", "/p/f", mounts=(part,), volumes=names)
    assert await rig.output(task) == "inside\n"
    await rig.runtime.remove(task)
    assert rigs.traces(rig.layout, task) == []
    link = Mount(kind=MountKind.VOLUME, source="v", target="/p", subpath="link")
    with pytest.raises(Rejected, match="subpath"):
        await rig.run("ls", "/p", mounts=(link,), volumes=names)


async def test_binds_of_host_paths(rig: rigs.Rig) -> None:
    bind = Mount(kind=MountKind.BIND, source="/etc/debian_version", target="/d", read_only=True)
    assert await rig.output(await rig.run("cat", "/d", mounts=(bind,))) != ""
    absent = Mount(kind=MountKind.BIND, source="/no/such/path", target="/d")
    with pytest.raises(Rejected, match="does not exist"):
        await rig.run("true", mounts=(absent,))
    own = Mount(kind=MountKind.BIND, source=str(rig.layout.data), target="/d")
    with pytest.raises(Rejected, match="belongs to stackd"):
        await rig.run("true", mounts=(own,))


@pytest.mark.parametrize(
    ("argv", "cause"),
    [
        (("/no/such",), "'/no/such' is not in the image"),
        (("nonsense",), "'nonsense' is not in the image"),
        (("/bin/noexec",), "cannot be executed"),
        (("/etc",), "'/etc'"),
    ],
)
async def test_commands_that_cannot_run_leave_nothing(
    rig: rigs.Rig, argv: tuple[str, ...], cause: str
) -> None:
    launch = await rig.launch(*argv)
    with pytest.raises(Rejected, match=cause):
        await rig.runtime.create(launch)
    assert rigs.traces(rig.layout, launch.task.id) == []
    await rig.runtime.create(replace(launch, revision=(await rig.launch("true")).revision))
    await rig.runtime.remove(launch.task.id)


async def test_bad_executable_format_is_an_exit_with_a_line(rig: rigs.Rig) -> None:
    task = await rig.run("/bin/badelf")
    assert (await rig.runtime.wait(task)).code not in (0, None)
    assert "exec format error" in await rig.text(task)


async def test_missing_network_namespace_is_rejected(rig: rigs.Rig) -> None:
    launch = await rig.launch("true")
    gone = replace(launch, network=replace(launch.network, netns="/run/netns/no-such"))
    with pytest.raises(Rejected, match="cannot be created"):
        await rig.runtime.create(gone)
    assert rigs.traces(rig.layout, launch.task.id) == []


async def test_image_entrypoint_command_and_user(rig: rigs.Rig) -> None:
    config = ImageConfig(
        entrypoint=("echo", "entry"), command=("cmd",), user="app", environment=("A=1", "B=2")
    )
    rig.image = LocalImage(rig.image.digest, rig.image.layers, config)
    assert await rig.output(await rig.run()) == "entry cmd\n"
    assert await rig.output(await rig.run("mine")) == "entry mine\n"
    task = await rig.run(entrypoint=("sh", "-c", "id -u; echo $A$B"), environment={"B": "3"})
    assert await rig.output(task) == "1000\n13\n"


async def test_root_is_open_to_other_users(rig: rigs.Rig) -> None:
    task = await rig.run("ls", "-ld", "/", user="app")
    assert (await rig.output(task)).startswith("drwxr-xr-x")


async def test_a_task_cannot_be_made_twice(rig: rigs.Rig) -> None:
    launch = await rig.launch("sleep", "60")
    await rig.runtime.create(launch)
    with pytest.raises(Rejected, match="already"):
        await rig.runtime.create(launch)
    await rig.runtime.start(launch.task.id)
    await rig.runtime.signal(launch.task.id, "KILL")
    assert (await rig.runtime.wait(launch.task.id)).signal == signal.SIGKILL


async def test_the_size_of_the_writable_layer(rig: rigs.Rig) -> None:
    volume = Mount(kind=MountKind.VOLUME, source="kept", target="/kept")
    script = (
        "head -c 5000000 /dev/zero >/big; head -c 9000000 /dev/zero >/kept/big; ln -s / /loop; "
        "head -c 7000000 /dev/zero >/dev/shm/big; echo set; sleep 60"
    )
    task = await rig.run("sh", "-c", script, mounts=(volume,), volumes={"kept": "s_kept"})
    log = rig.layout.logs / task / "ctr.log"
    await rigs.until(lambda: log.exists() and b"set" in log.read_bytes())
    assert 5_000_000 <= await rig.runtime.written(task) < 6_000_000
    await rig.runtime.remove(task)
    assert await rig.runtime.written(task) == 0
