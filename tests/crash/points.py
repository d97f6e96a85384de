"""The failpoints: where a process can be made to kill itself, by name.

A step is a function of stackd; its two failpoints are `NAME.before` and `NAME.after`. A writer is
a function whose store transactions get the failpoints `store.NAME.before` (written in the SQLite
transaction, not committed) and `store.NAME.after` (on disk, nobody knows). stackd itself knows
nothing of this: `tests.crash.hook` wraps the functions in processes of test clusters.
`tests/architecture/test_crash_points.py` compares this list with the source.
"""

from dataclasses import dataclass

AGENT, MANAGER, SPAWNER, KEEPER = "agent", "manager", "spawner", "envoy-keeper"


@dataclass(frozen=True, slots=True)
class Step:
    """A function (`module:qualified name`) and the process in which it counts."""

    name: str
    process: str
    place: str


@dataclass(frozen=True, slots=True)
class Writer:
    """A function that writes to the store; `place` "" = the control loop of that name."""

    name: str
    place: str = ""


LOOPS = (
    *("rollouts", "orchestrator", "allocator", "scheduler", "reaper", "traffic", "drains"),
    "analyses",
)
LOOP_PASS = "stackd.manager.loop:_pass"
WRITER_DO = "stackd.store.writer:Writer.do"
WRITER_COMMIT = "stackd.store.writer:Writer._commit"

WRITERS = (
    *(Writer(name) for name in LOOPS),
    Writer("statuses", "stackd.manager.statuses:Statuses._write"),
    Writer("registrations", "stackd.manager.registrations:Registrations.register"),
    Writer("leader", "stackd.manager.leader:Leader._campaign"),
    Writer("deploy", "stackd.manager.deployer:Deployer._deploy"),
    Writer("contents", "stackd.manager.deployer:Deployer._put_contents"),
    Writer("removal", "stackd.manager.deployer:Deployer.remove"),
    Writer("scale", "stackd.manager.api.stacks:StackApi.scale"),
)


def _agent(prefix: str, module: str, **steps: str) -> tuple[Step, ...]:
    return tuple(
        Step(f"{prefix}.{name}", AGENT, f"stackd.{module}:{place}") for name, place in steps.items()
    )


STEPS = (
    # The manager: its term, what it is told and what it tells.
    Step("store.publish", MANAGER, "stackd.store.writer:Writer._answer"),
    Step("manager.lead", MANAGER, "stackd.manager.leader:Leader._campaign"),
    Step("manager.hello", MANAGER, "stackd.manager.dispatcher:Dispatcher._hello"),
    Step("manager.report", MANAGER, "stackd.manager.dispatcher:Dispatcher._remember"),
    Step("manager.status", MANAGER, "stackd.manager.statuses:Statuses.put"),
    Step("manager.assign", MANAGER, "stackd.manager.assigner:Assigner.next"),
    # The agent's start, and what it says.
    *_agent(
        "agent",
        "agent.worker",
        begin="Worker.start",
        take="Worker.take",
    ),
    *_agent("agent", "agent.reporter", status="Reporter.status", report="Reporter.report"),
    *_agent("agent", "wire.agent_client", send="AgentLink.send"),
    *_agent(
        "record",
        "agent.record",
        assignment="NodeRecord.assignment",
        status="NodeRecord.status",
        rewrite="NodeRecord.rewrite",
        append="NodeRecord._append",
    ),
    # A task from its assignment to its end.
    *_agent(
        "task",
        "agent.task",
        adopt="TaskRunner.adopt",
        resume="TaskRunner._resume",
        prepare="TaskRunner._prepare",
        start="TaskRunner._start",
        signal="TaskRunner._signal",
        kill="TaskRunner._kill",
        clean="TaskRunner._clean",
        sweep="TaskRunner._sweep",
        end="TaskRunner._tell_end",
    ),
    *_agent("image", "host.images", ensure="NodeImages.ensure"),
    *_agent(
        "runtime",
        "host.runtime",
        create="RuncRuntime.create",
        monitored="RuncRuntime._monitored",
        start="RuncRuntime.start",
        exit="RuncRuntime._exit",
        signal="RuncRuntime.signal",
        remove="RuncRuntime.remove",
        found="RuncRuntime.found",
    ),
    *_agent("volumes", "host.volumes", sources="Volumes.sources"),
    *_agent(
        "bundle",
        "host.bundle",
        root="make_root",
        make="make_bundle",
        files="write_files",
        config="write_config",
        remove="remove",
    ),
    *_agent("conmon", "host.conmon", create="_create", spawn="_spawn"),
    *_agent("container", "host.containers", hold="hold", adopt="adopt"),
    *_agent("runc", "host.runc", start="start", release="_either", released="_released"),
    *_agent("reap", "host.reap", reap="reap"),
    *_agent("cgroup", "host.cgroups", kill="kill", remove="remove"),
    # Its network.
    *_agent(
        "network",
        "host.datapath",
        configure="HostNetwork.configure",
        attach="HostNetwork.attach",
        detach="HostNetwork.detach",
        reap="HostNetwork.reap",
        route="HostNetwork.route_services",
        count="HostNetwork.connections",
    ),
    *_agent("fabric", "host.fabric", plug="Fabric.plug", unplug="Fabric.unplug"),
    *_agent("fabric", "host.fabric", apply="Fabric.apply"),
    *_agent("netns", "host.taskns", pin="Shelf.put", unpin="Shelf.remove", link="add_link"),
    *_agent("netns", "host.taskns", inside="set_inside"),
    *_agent("plane", "host.plane", sources="Plane._sources", forget="Plane.forget"),
    *_agent("plane", "host.plane", vips="Plane._apply_vips"),
    *_agent("uplink", "host.uplink", apply="Uplink.apply"),
    # Traffic: applied, acknowledged, counted.
    *_agent(
        "traffic",
        "agent.traffic",
        wanted="TrafficApplier.wanted",
        apply="TrafficApplier._apply",
        save="_save",
        count="TrafficApplier._count",
        say="TrafficApplier._say",
    ),
    *_agent("dns", "agent.dns", services="DnsServer.services"),
    *_agent(
        "proxy",
        "xds.proxy",
        apply="EnvoyProxy.apply",
        push="EnvoyProxy._push",
        confirm="EnvoyProxy._confirm",
        in_flight="EnvoyProxy.in_flight",
    ),
    *_agent("keeper", "host.envoy", ensure="EnvoyProcess.ensure", quiesce="EnvoyProcess.quiesce"),
    # Other processes of a node.
    Step("spawner.answer", SPAWNER, "stackd.host.spawner:_answer"),
    Step("spawner.spawn", SPAWNER, "stackd.host.spawner:_spawn"),
    Step("envoy.start", KEEPER, "stackd.host.envoy_instance:start"),
    Step("envoy.spawn", KEEPER, "stackd.aio.proc:spawn"),
    Step("envoy.hand_over", KEEPER, "stackd.host.envoy:Keeper._hand_over"),
    Step("envoy.caught_up", KEEPER, "stackd.host.envoy_instance:caught_up"),
    Step("envoy.retire", KEEPER, "stackd.host.envoy_instance:retire"),
    Step("envoy.forget", KEEPER, "stackd.host.envoy_instance:Instance.forget"),
)

POINTS: dict[str, str] = {
    f"{name}.{when}": process
    for name, process in (
        *((f"store.{writer.name}", MANAGER) for writer in WRITERS),
        *((step.name, step.process) for step in STEPS),
    )
    for when in ("before", "after")
}
"""Failpoint -> the process that it kills."""
