"""What the source loop and `repo rm` need of the deployer, as a small protocol."""

from typing import Protocol

from stackd.manager.deployer import Deploy, Deployed, Planned


class StackDeployer(Protocol):
    """Makes declared stacks true; `manager.deployer.Deployer` is one."""

    async def plan(self, request: Deploy) -> Planned:
        """What would change; writes nothing. Raises as `deploy`."""
        ...

    async def deploy(self, request: Deploy) -> Deployed:
        """Raises Refused (foreign owner, infeasible), InvalidSpec, Unavailable, Conflict."""
        ...

    async def seen(self, stack: str, commit: str, problem: str) -> None:
        """Note that the stack's repository has processed `commit`, and why not all of it runs."""
        ...

    async def remove(self, stack: str, by: str, *, volumes: bool = False, cause: str = "") -> None:
        """Ask for a stack's removal. Raises Refused when there is none."""
        ...
