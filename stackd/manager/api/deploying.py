"""`apply`, `plan` and `diff`: a rendered stack to the deployer and back."""

from stackd.core.model.api import ApplyAnswer, ApplyRequest, PlanAnswer, PlanLine, PlanRequest
from stackd.core.plan.changes import describe
from stackd.core.plan.differ import diff
from stackd.errors import Refused
from stackd.manager.deployer import Deploy, Deployer, Planned
from stackd.store.tables import Tables
from stackd.wire.control import Caller


class DeployApi:
    """Handlers that lead to the deployer."""

    def __init__(self, tables: Tables, deployer: Deployer) -> None:
        self._tables = tables
        self._deployer = deployer

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
        return self.answer(planned)

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
            notes=planned.notes + tuple(planned.failed.values()),
            diff=diff(self._tables.world, plan),
        )
