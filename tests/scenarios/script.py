"""Runs a scenario: blocks of commands, `----`, and what is expected to be seen after them.

Commands (one a line, `#` comments):
    deploy SERVICE=REVISION [key=value…] …   one release of stack `shop`; a line per service, then
    release                                  declares the services named since the last release
    behave NAME[@REVISION] key=value…        how its tasks behave (tests.fakes.agent.Behaviour)
    node NAME ready|down|drain|active|pause|KEY=VALUE (a label)
    join NAME,  reboot NAME (a node that was down is back, its containers are not)
    abort|pause|resume|retry|promote|promote-full SERVICE
    answer SERVICE PLACE pass|fail|inconclusive|undecided [WORDS]: what an analysis that is asked
                                             for says; undecided: its time is over
    gate SERVICE NAME pass|wait|error [WORDS]: what a gate beside the steps (gate=NAME) says
    rollback SERVICE [TO],  rollback-stack [N]
    freeze STACK|* SECONDS (0 = no end) REASON,  unfreeze STACK|*
    scale SERVICE N,  remove,  restart-manager,  advance SECONDS
    flag SERVICE/TOGGLE PERCENT|declared    a share set by hand
After each block: the events since the block before, then each service's phase and tasks.
"""

import dataclasses
from collections import Counter

import msgspec

from stackd.core.model.analysis import (
    Analysis,
    AnalysisPolicy,
    AnalysisState,
    Check,
    CheckKind,
    CheckOutcome,
    CheckState,
    Estimate,
    Judgement,
    OnInconclusive,
    Run,
    Verdict,
)
from stackd.core.model.container import Mount, MountKind
from stackd.core.model.record import Delete, ref
from stackd.core.model.release import Override
from stackd.core.model.rollout import ServiceState
from stackd.core.model.stack import (
    Constraint,
    DependsOn,
    Mode,
    Placement,
    RestartCondition,
    RestartPolicy,
    ServiceSpec,
)
from stackd.core.model.states import Availability, NodeState
from stackd.core.model.strategy import (
    Amount,
    Analyse,
    Matcher,
    OnFailure,
    Pause,
    Preview,
    RolloutStep,
    SetMatch,
    SetMirror,
    SetScale,
    SetWeight,
    Strategy,
    StrategyKind,
)
from stackd.core.model.toggle import Toggle, ToggleOverride
from stackd.core.model.traffic import Steering, TrafficEntry
from stackd.core.rollout import answers, asked, commands, freezing, goback, places
from stackd.core.rollout.outcome import Goal, outcome
from stackd.core.rollout.phase import service_names, service_phase
from stackd.errors import Refused
from tests.fakes.agent import Behaviour
from tests.fakes.simulation import START, Simulation, web

STACK = "shop"
SEPARATOR = "----"


def run(text: str) -> str:
    """The scenario with what was really seen."""
    scenario = _Scenario()
    blocks = [block for block in text.strip().split("\n\n") if block.strip()]
    return "\n\n".join(scenario.block(block) for block in blocks) + "\n"


class _Scenario:
    def __init__(self) -> None:
        self.sim = Simulation(3)
        self.specs: dict[str, tuple[ServiceSpec, str]] = {}
        self.seen = ""

    def block(self, block: str) -> str:
        lines = block.split(f"\n{SEPARATOR}")[0].strip("\n").splitlines()
        said = []
        for line in lines:
            if line.strip() and not line.startswith("#"):
                said += self.command(line.split())
        if all(line.startswith("#") for line in lines):
            return "\n".join(lines)
        return "\n".join([*lines, SEPARATOR, *said, *self.transcript()])

    def command(self, words: list[str]) -> list[str]:
        verb, *rest = words
        try:
            getattr(self, f"do_{verb.replace('-', '_')}")(*rest)
        except Refused as error:
            return [f"refused: {error.cause} {error.remedy}"]
        return []

    def do_deploy(self, what: str, *options: str) -> None:
        name, revision = what.split("=")
        spec = web(name=name, **_fields(dict(option.split("=", 1) for option in options)))
        self.specs[name] = (spec, revision)

    def do_drop(self, name: str) -> None:
        del self.specs[name]

    def do_release(self) -> None:
        self.sim.deploy(STACK, self.specs)

    def do_behave(self, what: str, *options: str) -> None:
        values = dict(option.split("=", 1) for option in options)
        kinds = {field.name: field.default for field in dataclasses.fields(Behaviour)}
        fields: dict[str, object] = {}
        for key, value in values.items():
            plain = isinstance(kinds[key], str)
            number = float(value) if not plain and value not in ("True", "False") else 0.0
            fields[key] = value.replace("_", " ") if plain else number
            if key == "exit_code":
                fields[key] = int(value)
            if value in ("True", "False"):
                fields[key] = value == "True"
        self.sim.agents.behaviours[what] = Behaviour(**fields)  # type: ignore[arg-type]

    def do_node(self, name: str, word: str) -> None:
        if "=" in word:
            self.sim.label(name, word)
        elif word in ("ready", "down"):
            self.sim.set_node(name, state=NodeState(word))
        else:
            self.sim.set_node(name, availability=Availability(word))

    def do_join(self, name: str) -> None:
        self.sim.node(name, index=int(name[1:]))

    def do_reboot(self, name: str) -> None:
        self.sim.reboot(name)

    def do_advance(self, seconds: str) -> None:
        self.sim.advance(float(seconds))

    def do_scale(self, service: str, count: str) -> None:
        declared = self.specs[service][0].replicas
        self.sim.write(
            Override(
                stack=STACK,
                service=service,
                replicas=int(count),
                declared=declared,
                by="ann",
                at=self.sim.now,
            )
        )

    def do_flag(self, name: str, percent: str) -> None:
        service, toggle = name.split("/")
        declared = self.specs[service][0].features[toggle].share
        key = f"{STACK}/{name}"
        if percent == "declared":
            self.sim.write(Delete(ref=ref(ToggleOverride, key)))
            return
        self.sim.write(
            ToggleOverride(
                stack=STACK,
                service=service,
                feature=toggle,
                share=round(float(percent) * 100),
                declared=declared,
                by="ann",
                at=self.sim.now,
            )
        )

    def do_answer(self, service: str, where: str, said: str, *words: str) -> None:
        state = places.state_of(self.sim.world, f"{STACK}/{service}")
        part = places.declared(self.sim.world.release(STACK), service)
        assert state is not None
        assert part is not None
        rollout = state.rollout
        assert rollout is not None
        place = where if where.endswith("promotion") else where.replace("_", " ")
        place = place.replace("- ", ", ")
        open_ = asked.analyses(part.spec.strategy, rollout)
        assert place in open_, f"{place} is not asked for: {sorted(open_)}"
        final = said != "inconclusive" and not (said == "pass" and asked.background(place))
        verdict = Verdict("inconclusive" if said == "undecided" else said)
        judgement = Judgement(
            verdict=verdict, final=final, reason=" ".join(words), estimate=Estimate(), readings=()
        )
        known = self.sim.world.get(Analysis, state.key)
        runs = known.runs if known is not None and known.rollout == rollout.id else {}
        begun = AnalysisState(
            canary=rollout.target, stable=rollout.source or rollout.target, started=0
        )
        run = Run(state=begun, judgement=judgement, at=self.sim.now)
        self.sim.write(
            Analysis(stack=STACK, service=service, rollout=rollout.id, runs={**runs, place: run})
        )

    def do_gate(self, service: str, name: str, said: str, *words: str) -> None:
        state = places.state_of(self.sim.world, f"{STACK}/{service}")
        assert state is not None
        assert state.rollout is not None
        rollout = state.rollout
        known = self.sim.world.get(Analysis, state.key)
        runs = known.runs if known is not None and known.rollout == rollout.id else {}
        found = CheckState(at=self.sim.now, outcome=CheckOutcome(said), text=" ".join(words))
        begun = AnalysisState(
            canary=rollout.target,
            stable=rollout.source or rollout.target,
            started=0,
            background=True,
            checks={name: found},
        )
        place = answers.place(0, answers.BACKGROUND, rollout.attempt)
        run = Run(state=begun, judgement=None, at=self.sim.now)
        self.sim.write(
            Analysis(stack=STACK, service=service, rollout=rollout.id, runs={**runs, place: run})
        )

    def do_remove(self) -> None:
        self.sim.remove(STACK)

    def do_restart_manager(self) -> None:
        self.sim.restart_manager()

    def _asked(self) -> commands.Asked:
        return commands.Asked("ann", self.sim.now, self.sim.ids.__next__)

    def do_abort(self, service: str) -> None:
        self.sim.commit(commands.abort(self.sim.world, STACK, service, self._asked()))

    def do_pause(self, service: str) -> None:
        self.sim.commit(commands.pause(self.sim.world, STACK, service, self._asked()))

    def do_resume(self, service: str) -> None:
        self.sim.commit(commands.resume(self.sim.world, STACK, service, self._asked()))

    def do_retry(self, service: str) -> None:
        self.sim.commit(commands.retry(self.sim.world, STACK, service, self._asked()))

    def do_promote(self, service: str, *, full: bool = False) -> None:
        asked = self._asked()
        self.sim.commit(commands.promote(self.sim.world, STACK, service, asked, full=full))

    def do_promote_full(self, service: str) -> None:
        self.do_promote(service, full=True)

    def do_freeze(self, stack: str, seconds: str, *reason: str) -> None:
        until = self.sim.now + float(seconds) if float(seconds) else 0
        name, why = stack.strip("*"), " ".join(reason)
        self.sim.commit(freezing.freeze(self.sim.world, name, self._asked(), why, until))

    def do_unfreeze(self, stack: str) -> None:
        self.sim.commit(freezing.unfreeze(self.sim.world, stack.strip("*"), self._asked()))

    def do_rollback(self, service: str, to: str = "") -> None:
        self.sim.commit(commands.rollback(self.sim.world, STACK, service, self._asked(), to))

    def do_rollback_stack(self, to: str = "0") -> None:
        self.sim.commit(goback.rollback_stack(self.sim.world, STACK, self._asked(), int(to)))

    def transcript(self) -> list[str]:
        lines = []
        for event in self.sim.events(self.seen):
            self.seen = event.id
            name = event.object.removeprefix(f"{STACK}/")
            at = f"{event.at - START:7.1f}"
            lines.append(f"{at}  {event.kind:<20} {name:<8} {event.text}".rstrip())
        for name in service_names(self.sim.world, STACK):
            lines.append(self._service(name))
        assert self.sim.conflicts == 0, "loops that take turns never conflict"
        return lines

    def _service(self, name: str) -> str:
        world, now = self.sim.world, self.sim.now
        phase, reason = service_phase(world, STACK, name, now)
        views = [v for v in world.tasks_of(STACK, name) if v.live]
        counts = Counter(
            f"{v.task.revision} {'ready' if v.ready else v.status.state.label}" for v in views
        )
        tasks = ", ".join(f"{n} {what}" for what, n in sorted(counts.items())) or "no tasks"
        code = int(outcome(world, Goal(STACK, name), now).code)
        weights = self._weights(name)
        errors = sorted({v.status.error for v in views if v.status.error})
        more = "".join(f"\n    {error}" for error in errors)
        toggles = "".join(self._toggles(name))
        line = f"= {name}: {phase.value}: {reason}\n    {tasks}; wait: {code}{weights}"
        return f"{line}{more}{toggles}"

    def _toggles(self, name: str) -> list[str]:
        """Whom the toggles of a service reach, as the nodes have them."""
        entry = self.sim.world.get(TrafficEntry, f"{STACK}/{name}")
        shown = entry.features if entry is not None else {}
        return [f"\n    {key} reaches {one.share / 100:g}%" for key, one in shown.items()]

    def _weights(self, name: str) -> str:
        """The weights of a service that has such, as the nodes have them."""
        entry = self.sim.world.get(TrafficEntry, f"{STACK}/{name}")
        state = self.sim.world.get(ServiceState, f"{STACK}/{name}")
        if entry is None or state is None or not state.weights:
            return ""
        shares = ", ".join(f"{r} {w / 100:g}%" for r, w in sorted(entry.weights.items()))
        return "; ".join(["", shares, *_steered(entry.steering)])


def _steered(steering: Steering) -> list[str]:
    found = []
    if steering.matches:
        words = " or ".join(m.words for m in steering.matches)
        found.append(f"{words} -> {steering.matched}")
    if steering.preview is not None:
        found.append(f"port {steering.preview.published} -> {steering.previewed}")
    if steering.sticky:
        found.append("by user")
    if steering.mirror:
        found.append(f"{steering.mirror / 100:g}% also -> {steering.mirrored}")
    return found


def _steps(text: str) -> tuple[RolloutStep, ...]:
    """`w5,p120,s3,p,h,m10,a`: weight 5 %, pause of 120 s, 3 tasks, pause until promoted, match a
    header (`h0`: nothing), mirror 10 %, analysis (`apromote`: on_inconclusive)."""
    found: list[RolloutStep] = []
    for word in text.split(","):
        number = 0.0 if word[0] == "a" else float(word[1:] or 0)
        match word[0]:
            case "a":
                found.append(Analyse(policy=_policy(word[1:] or "pause")))
            case "h":
                matches = () if word == "h0" else (Matcher(header="x-group", exact="b"),)
                found.append(SetMatch(any_of=matches))
            case "m":
                found.append(SetMirror(share=round(number * 100)))
            case "w":
                found.append(SetWeight(weight=round(number * 100)))
            case "p":
                found.append(Pause(seconds=number))
            case _:
                found.append(SetScale(tasks=Amount(value=int(number))))
    return tuple(found)


def _stages(steps: str, analysis: str = "", on_failure: str = "rollback") -> Strategy:
    """`toggle=NAME:SHARE:STEPS[:ANALYSIS[:ON_FAILURE]]`: the stages of a toggle."""
    return Strategy(
        kind=StrategyKind.STAGED,
        steps=_steps(steps),
        analysis=_policy(analysis) if analysis else None,
        on_failure=OnFailure(on_failure),
        progress_deadline=20,
    )


def _policy(on_inconclusive: str) -> AnalysisPolicy:
    return AnalysisPolicy(on_inconclusive=OnInconclusive(on_inconclusive))


def _fields(options: dict[str, str]) -> dict[str, object]:
    """Options of `deploy` as fields of a spec; `back_…` are those of the way back."""
    pace: dict[str, object] = {}
    backwards: dict[str, object] = {}
    restart: dict[str, object] = {}
    fields: dict[str, object] = {}
    for key, value in options.items():
        match key:
            case "replicas":
                fields[key] = int(value)
            case "mode":
                fields[key] = Mode(value)
            case "surge" | "unavailable":
                percent = value.endswith("%")
                pace[f"max_{key}"] = Amount(value=int(value.rstrip("%")), percent=percent)
            case "back_surge" | "back_unavailable":
                backwards[f"max_{key.removeprefix('back_')}"] = Amount(value=int(value))
            case "back_delay" | "back_monitor":
                backwards[key.removeprefix("back_")] = float(value)
            case "strategy":
                pace["kind"] = StrategyKind(value)
            case "on_failure":
                pace[key] = OnFailure(value)
            case "parallelism":
                pace[key] = int(value)
            case "steps":
                pace[key] = _steps(value)
            case "group":
                pace[key] = value
            case "preview":
                pace[key] = Preview(published=int(value))
            case "analysis" | "pre_promotion" | "post_promotion":
                pace[key] = _policy(value)
            case "gate":
                gate = Check(name=value, kind=CheckKind.WEBHOOK, url="http://gate.example/")
                pace["analysis"] = AnalysisPolicy(checks=(gate,))
            case "mirror" | "split":
                pace[key] = round(float(value) * 100)
            case "match":
                pace[key] = (Matcher(header="x-group", exact=value),)
            case "auto_promote":
                pace[key] = value == "True"
            case "delay" | "monitor" | "progress_deadline" | "scale_down_delay" | "duration":
                pace[key] = float(value)
            case "auto_promote_after":
                pace[key] = float(value)
            case "ratio":
                pace["max_failure_ratio"] = float(value)
            case "after" | "started":
                condition = DependsOn.HEALTHY if key == "after" else DependsOn.STARTED
                fields["depends_on"] = {value: condition}
            case "per_node":
                fields["placement"] = Placement(max_replicas_per_node=int(value))
            case "constraint":
                key, found = value.split("==")
                fields["placement"] = Placement(constraints=(Constraint(key=key, value=found),))
            case "restart":
                restart["condition"] = RestartCondition(value)
            case "attempts":
                restart["max_attempts"] = int(value)
            case "window":
                restart[key] = float(value)
            case "volume":
                mount = Mount(kind=MountKind.VOLUME, source=value, target="/data")
                base = web().container
                fields["container"] = msgspec.structs.replace(base, mounts=(mount,))
            case "toggle":
                name, share, *stages = value.split(":")
                fields["features"] = {name: Toggle(share=round(float(share) * 100))}
                fields["stages"] = {name: _stages(*stages)} if stages else {}
            case _:
                raise AssertionError(f"unknown option {key}")
    strategy = Strategy(**pace)  # type: ignore[arg-type]
    back = strategy
    if strategy.on_failure is OnFailure.STEP_BACK:
        back = msgspec.structs.replace(strategy, on_failure=OnFailure.PAUSE)
    back = msgspec.structs.replace(back, **backwards)
    if restart:
        fields["restart"] = RestartPolicy(**restart)  # type: ignore[arg-type]
    return {**fields, "strategy": strategy, "rollback": back}
