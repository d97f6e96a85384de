"""Stacks: `ls`, `scale`, `rm`, `adopt`."""

import msgspec

from stackd.core.model.api import (
    AdoptRequest,
    NameRequest,
    RemoveRequest,
    ScaleRequest,
    StackRow,
    StackRows,
    Text,
)
from stackd.core.model.event import Event
from stackd.core.model.fit import replicas
from stackd.core.model.record import Changes, Delete, Put, ref
from stackd.core.model.release import Override, Stack
from stackd.core.model.source import Repository, RepositoryStatus
from stackd.core.model.stack import MAX_TASKS, Mode
from stackd.core.rollout.phase import stack_phase
from stackd.errors import Refused, Unknown
from stackd.manager.api import names
from stackd.manager.deployer import Deployer
from stackd.manager.loop import Context
from stackd.wire.control import Caller


class StackApi:
    """Handlers about stacks as a whole."""

    def __init__(self, context: Context, deployer: Deployer) -> None:
        self._context = context
        self._tables = context.tables
        self._deployer = deployer

    async def list(self, request: NameRequest, caller: Caller) -> StackRows:
        """Every stack with its phase and how much of it is ready."""
        return StackRows(stacks=tuple(self._row(s) for s in self._tables.world.all(Stack)))

    def _row(self, stack: Stack) -> StackRow:
        world = self._tables.world
        services = names.service_names(world, stack.name)
        ready = desired = 0
        for service in services:
            spec = world.declared(stack.name, service)
            desired += replicas(world, stack.name, spec) if spec else 0
            ready += sum(v.ready and v.wanted for v in world.tasks_of(stack.name, service))
        phase, _ = stack_phase(world, stack.name, self._context.clock.now())
        return StackRow(
            stack=stack.name,
            owner=stack.owner,
            release=stack.release,
            commit=stack.commit,
            phase="removing" if stack.removing else phase.value,
            services=len(services),
            ready=ready,
            desired=desired,
        )

    async def scale(self, request: ScaleRequest, caller: Caller) -> Text:
        """Store an override of the declared number of tasks, or end it."""
        world = self._tables.world
        stack, service = names.service_of(world, request.name)
        spec = world.declared(stack, service)
        if spec is None:
            raise Refused(f"{request.name} is being removed.", "There is nothing to scale.")
        if spec.mode is Mode.GLOBAL:
            raise Refused(
                f"{request.name} is global: it runs once on every fitting node.",
                "Change its placement instead.",
            )
        if request.replicas is not None and not 0 <= request.replicas <= MAX_TASKS:
            raise Refused(
                f"{request.replicas} is out of range: 0 to {MAX_TASKS}.",
                f"{request.name} stays as it is.",
            )
        declared = request.replicas is None or request.replicas == spec.replicas
        override = Override(
            stack=stack,
            service=service,
            replicas=spec.replicas if request.replicas is None else request.replicas,
            declared=spec.replicas,
            by=caller.principal,
            at=self._context.clock.now(),
        )
        change = Delete(ref=ref(Override, override.key)) if declared else Put(record=override)
        text = (
            f"{request.name} is back at the declared {spec.replicas}."
            if declared
            else f"{request.name}: {override.replicas} instead of the declared {spec.replicas}."
        )
        event = self._event("service.scaled", request.name, caller, text)
        await self._tables.commit(Changes(changes=(change, Put(record=event))), self._context.fence)
        return Text(text=text)

    async def remove(self, request: RemoveRequest, caller: Caller) -> Text:
        """Remove a stack that the command line owns."""
        stack = names.stack_of(self._tables.world, request.name)
        if stack.owner != "cli":
            raise Refused(
                f"{stack.name} is owned by {stack.owner}.",
                f"Remove {stack.path or 'its file'} there, or stop following it: stackd repo rm "
                f"{stack.owner.removeprefix('repo:')}",
            )
        await self._deployer.remove(stack.name, caller.principal, volumes=request.volumes)
        kept = "" if request.volumes else "; its volumes stay"
        return Text(text=f"{stack.name} is being removed{kept}.")

    async def adopt(self, request: AdoptRequest, caller: Caller) -> Text:
        """Make a repository the owner of a stack."""
        world = self._tables.world
        stack = names.stack_of(world, request.name)
        if world.get(Repository, request.repo) is None:
            raise Unknown(f"There is no repository {request.repo}.", "See: stackd repo ls")
        owned = msgspec.structs.replace(
            stack,
            owner=f"repo:{request.repo}",
            seen_commit="",
            path="",
            problem="",
            problem_since="",
            override="",
        )
        text = f"{stack.name} is now owned by repo:{request.repo}."
        event = self._event("stack.adopted", stack.name, caller, text)
        status = world.get(RepositoryStatus, request.repo)
        status = status or RepositoryStatus(name=request.repo)
        look = msgspec.structs.replace(status, sync_requested=status.sync_requested + 1)
        changes = Changes(changes=(Put(record=owned), Put(record=event), Put(record=look)))
        await self._tables.commit(changes, self._context.fence)
        return Text(text=text)

    def _event(self, kind: str, name: str, caller: Caller, text: str) -> Event:
        return Event(
            id=next(self._context.ids),
            at=self._context.clock.now(),
            kind=kind,
            object=name,
            principal=caller.principal,
            text=text,
        )
