"""What a manager does while it leads: the loops, the servers, the source.

Called by `manager.leader` for each term; everything ends together with the term.
"""

import asyncio
import random

from stackd.core.model.cluster import ClusterFile
from stackd.core.network import allocate, ipam, renumber
from stackd.manager import drains, loop, traffic
from stackd.manager.allocator import allocator
from stackd.manager.analyses import Analyses, Answers
from stackd.manager.checking import Checks
from stackd.manager.commit_statuses import CommitStatuses
from stackd.manager.hooks import HookReceiver
from stackd.manager.loop import Context
from stackd.manager.noting import Leader as SourceLeader
from stackd.manager.orchestrator import orchestrator
from stackd.manager.reaper import reaper
from stackd.manager.rollouts import rollouts
from stackd.manager.scheduler import scheduler
from stackd.manager.serving import serve
from stackd.manager.source import Places, Source
from stackd.manager.standing import Manager
from stackd.manager.term import Term, begin

SUBNET_BITS = 22


async def lead(manager: Manager, context: Context) -> None:
    """Everything that only the leader does, until cancelled."""
    manager.private.mkdir(mode=0o700, exist_ok=True)
    term = begin(manager, context)
    await term.tokens.prepare()
    term.membership.managers = (manager.address,)
    await _renumber(manager, context)
    answers = Answers()
    loops = (
        rollouts(),
        orchestrator(),
        allocator(_allocation(manager.cluster)),
        scheduler(),
        reaper(),
        traffic.LOOP,
        drains.LOOP,
        Analyses(term.inbox, answers).loop(),
    )
    async with asyncio.TaskGroup() as group:
        for one in loops:
            group.create_task(loop.run(one, context), name=f"loop {one.name}")
        group.create_task(term.dispatcher.run(context), name="dispatcher")
        group.create_task(Checks(context, answers, manager.checks).run(), name="checks")
        source = _source(manager, context, term)
        group.create_task(source.run(), name="source")
        told = CommitStatuses(context, term.repositories.status_token)
        group.create_task(told.run(), name="commit statuses")
        manager.standing.hooks = HookReceiver(context, term.repositories, source.look)
        group.create_task(serve(manager, context, term, source), name="servers")


def _source(manager: Manager, context: Context, term: Term) -> Source:
    leader = SourceLeader(
        context.tables,
        context.fence,
        context.clock,
        context.ids,
        term.deployer,
        random.random,
    )
    mirrors = manager.layout.manager / "git"
    return Source(leader, Places(mirrors, manager.private, term.repositories.credential))


def _allocation(cluster: ClusterFile) -> allocate.Settings:
    return allocate.Settings(cluster.id, ipam.Pool(cluster.pool, SUBNET_BITS))


async def _renumber(manager: Manager, context: Context) -> None:
    """Before any loop runs: `up` may have changed the pool."""
    now, pool = context.clock.now(), _allocation(manager.cluster).pool
    decision = renumber.decide(context.tables.world, pool, now, context.ids.__next__)
    for changes in decision.commits:
        await context.tables.commit(changes, context.fence)
