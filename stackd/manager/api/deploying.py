"""`apply`, `plan` and `diff`: a rendered stack, or a repository's, to the deployer and back."""

import msgspec

from stackd.core import spec
from stackd.core.model.api import (
    ApplyAnswer,
    ApplyRequest,
    CompareAnswer,
    CompareRequest,
    FilesRequest,
    PlanAnswer,
    PlanLine,
    PlanRequest,
    PlansAnswer,
)
from stackd.core.model.release import Stack
from stackd.core.plan.changes import describe
from stackd.core.plan.differ import diff
from stackd.errors import InvalidSpec, Refused, StackdError
from stackd.manager.declared import Declared, StackFile, vanished
from stackd.manager.deployer import Deployer
from stackd.manager.requests import Deploy, Planned
from stackd.manager.source import Source
from stackd.store.tables import Tables
from stackd.wire.control import Caller


class DeployApi:
    """Handlers that lead to the deployer."""

    def __init__(self, tables: Tables, deployer: Deployer, source: Source) -> None:
        self._tables = tables
        self._deployer = deployer
        self._source = source

    async def apply(self, request: ApplyRequest, caller: Caller) -> ApplyAnswer:
        """Deploy; answers once it is committed."""
        done = await self._deployer.deploy(
            Deploy(
                spec=request.spec,
                contents=request.contents,
                owner="cli",
                by=caller.principal,
                pull=request.pull,
                override=request.override,
                plan_hash=request.plan_hash,
            )
        )
        return ApplyAnswer(
            stack=request.spec.name,
            release=done.release,
            changed=done.changed,
            plan_hash=done.plan.hash,
            notes=done.notes,
            failed=tuple(done.failed.values()),
        )

    async def plan(self, request: PlanRequest, caller: Caller) -> PlanAnswer:
        """What `apply` of this stack would do."""
        if request.spec is None:
            raise Refused("There is no stack to plan.", "Name a file with -f.")
        planned = await self._deployer.plan(
            Deploy(
                spec=request.spec,
                contents=request.contents,
                owner="cli",
                by=caller.principal,
                pull=request.pull,
                override=True,
            )
        )
        return await self._answer(planned, simulate=request.simulate)

    async def apply_files(self, request: FilesRequest, caller: Caller) -> ApplyAnswer:
        """Deploy stack files that came as text."""
        bundle = _rendered(request)
        asked = ApplyRequest(
            spec=bundle.spec,
            contents=bundle.contents,
            plan_hash=request.plan_hash,
            pull=request.pull,
            override=request.override,
        )
        return await self.apply(asked, caller)

    async def plan_files(self, request: FilesRequest, caller: Caller) -> PlanAnswer:
        """What `apply_files` would do."""
        bundle = _rendered(request)
        asked = PlanRequest(
            spec=bundle.spec,
            contents=bundle.contents,
            pull=request.pull,
            simulate=request.simulate,
        )
        return await self.plan(asked, caller)

    async def plan_repository(self, request: PlanRequest, caller: Caller) -> PlansAnswer:
        """What a repository's commit would do, or the newest one; deploys nothing."""
        declared = await self._source.declared(request.repo, request.commit)
        plans: list[PlanAnswer] = []
        problems = [
            str(p) for file in declared.files.values() for p in file.problems if not p.warning
        ]
        for file in sorted(declared.files.values(), key=lambda f: (f.name, f.path)):
            if file.bundle is None:
                continue
            try:
                plans.append(await self._plan_file(file, declared, request))
            except StackdError as error:
                problems.append(f"{file.path}: {error.cause} {error.remedy}".strip())
        plans += self._removals(declared)
        return PlansAnswer(plans=tuple(plans), problems=tuple(problems))

    async def compare(self, request: CompareRequest, caller: Caller) -> CompareAnswer:
        """What one revision of a repository declares otherwise than another."""
        return await self._source.compare(request)

    async def _plan_file(
        self, file: StackFile, declared: Declared, request: PlanRequest
    ) -> PlanAnswer:
        assert file.bundle is not None
        owner = f"repo:{declared.repository.name}"
        planned = await self._deployer.plan(
            Deploy(
                spec=file.bundle.spec,
                contents=file.bundle.contents,
                owner=owner,
                by=owner,
                commit=declared.commit,
                path=file.path,
                pull=request.pull,
            )
        )
        return await self._answer(planned, simulate=request.simulate)

    async def _answer(self, planned: Planned, *, simulate: bool) -> PlanAnswer:
        answer = self.answer(planned)
        if not simulate:
            return answer
        return msgspec.structs.replace(answer, simulation=await self._deployer.simulate(planned))

    def _removals(self, declared: Declared) -> list[PlanAnswer]:
        """Plans for the stacks whose files are gone at that commit."""
        repository, world = declared.repository, self._tables.world
        owner = f"repo:{repository.name}"
        owned = [head for head in world.all(Stack) if head.owner == owner and not head.removing]
        gone = vanished(declared.files, owned)
        removed = repository.prune and (len(gone) < len(owned) or repository.allow_empty)
        return [_removal(head, removed=removed) for head in gone]

    def answer(self, planned: Planned) -> PlanAnswer:
        """A plan as it is printed."""
        plan = planned.plan
        described = [(c, describe(plan.stack, c)) for c in plan.changes]
        return PlanAnswer(
            stack=plan.stack,
            release=plan.base,
            changed=plan.changed,
            plan_hash=plan.hash,
            changes=tuple(
                PlanLine(
                    number=number,
                    kind=str(change.__struct_config__.tag),
                    object=words.object,
                    text=words.text,
                    cause=words.cause,
                    effect=words.effect,
                )
                for number, (change, words) in enumerate(described, 1)
            ),
            infeasible=planned.infeasible,
            notes=planned.notes,
            failed=tuple(planned.failed.values()),
            diff=diff(self._tables.world, plan),
        )


def _rendered(request: FilesRequest) -> spec.Bundle:
    """The stack that files declare. Raises InvalidSpec with every problem."""
    files = [spec.SourceFile(name, text.encode()) for name, text in request.files.items()]
    if not files:
        raise Refused("There is no stack file.", 'Give one: "files": {"stack.yml": "…"}.')
    beside = {name: text.encode() for name, text in request.beside.items()}
    context = spec.Context(
        origin=spec.Origin.GIT, variables=request.variables, name=request.name, files=beside
    )
    loaded = spec.load(files, context)
    if loaded.bundle is None:
        raise InvalidSpec(loaded.errors)
    return loaded.bundle


def _removal(head: Stack, *, removed: bool) -> PlanAnswer:
    """What becomes of a stack whose file is gone; nothing unless the repository prunes."""
    text = f"remove the stack {head.name}"
    line = PlanLine(
        number=1,
        kind="remove-stack",
        object=head.name,
        text=text,
        cause=f"{head.path} is gone",
        effect="remove; volumes stay",
    )
    note = f"{head.name}: {head.path} is gone; without --prune the stack stays"
    return PlanAnswer(
        stack=head.name,
        release=head.release,
        changed=removed,
        plan_hash="",
        changes=(line,) if removed else (),
        infeasible=(),
        notes=() if removed else (note,),
        diff=f"- {text}" if removed else "",
    )
