"""Sections of one service -> its `ServiceSpec`, defaults applied, faults at their places.

Called by `loading` once per service; what concerns several services is in `references`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from stackd.core.model.analysis import AnalysisPolicy
from stackd.core.model.container import ContainerSpec, Grant, Mount, MountKind, Resources
from stackd.core.model.release import ContentKind
from stackd.core.model.stack import DependsOn, Mode, ServiceSpec
from stackd.core.model.strategy import Strategy, StrategyKind
from stackd.core.spec import (
    contents,
    deploy,
    environment,
    features,
    healthcheck,
    judged,
    networks,
    ports,
    process,
    routes,
    stages,
    strategy,
    volumes,
)
from stackd.core.spec.environment import Environments
from stackd.core.spec.nodes import (
    ListNode,
    MapNode,
    Node,
    Path,
    Place,
    Scalar,
    find,
    key_place_of,
    place_of,
)
from stackd.core.spec.problems import dotted
from stackd.core.spec.service import ServiceSection
from stackd.core.spec.volumes import Volumes

T = TypeVar("T")
D = TypeVar("D")


@dataclass(frozen=True)
class Assembler:
    """Builds the services of one stack. `root` is the tree that they were written in."""

    root: Node
    volumes: Volumes
    environments: Environments

    def service(self, name: str, section: ServiceSection) -> ServiceSpec:
        """One service with its defaults; its faults are in the report."""
        path: Path = ("services", name)
        given = section.deploy or deploy.DeploySection()
        container = self._container(path, section, given)
        http = self._lacks_http(path, section)
        update, rollback = self._strategies(path, given, is_singleton(container), http)
        mode = Mode(given.mode or Mode.REPLICATED)
        self._check_mode(path, given, mode)
        depends = section.depends_on or {}
        return ServiceSpec(
            name=name,
            container=container,
            mode=mode,
            replicas=1 if given.replicas is None else given.replicas,
            strategy=update,
            rollback=rollback,
            restart=deploy.restart(given.restart_policy, section.restart),
            placement=deploy.placement(given.placement),
            deploy_labels=_labels(given.labels),
            ports=self._try((*path, "ports"), partial(ports.expand_all, section.ports or ()), ()),
            route=routes.build(section.route) if section.route else None,
            depends_on={
                other: DependsOn(need.condition or DependsOn.STARTED)
                for other, need in depends.items()
            },
            features=self._try(
                (*path, "features"), partial(features.build, section.features or {}), {}
            ),
            stages=self._stages((*path, "features"), section.features or {}, http),
        )

    def _try(self, path: Path, build: Callable[[], T], default: D) -> T | D:
        """What `build` makes; when it raises ValueError, a problem at `path` and `default`."""
        try:
            return build()
        except ValueError as error:
            report = self.environments.report
            report.error(place_of(self.root, path), str(error), dotted(path))
            return default

    def _container(
        self, path: Path, section: ServiceSection, given: deploy.DeploySection
    ) -> ContainerSpec:
        check = section.healthcheck
        grace = section.stop_grace_period
        limits = (*path, "deploy", "resources")
        return ContainerSpec(
            image=section.image,
            command=process.optional(section.command),
            entrypoint=process.optional(section.entrypoint),
            init=bool(section.init),
            environment=self._environment(path, section),
            working_dir=section.working_dir or "",
            user=section.user or "",
            hostname=section.hostname or "",
            labels=_labels(section.labels),
            read_only=bool(section.read_only),
            mounts=self._mounts(path, section),
            configs=self._grants(path, ContentKind.CONFIG, section),
            secrets=self._grants(path, ContentKind.SECRET, section),
            networks=networks.attachments(section.networks),
            healthcheck=healthcheck.build(check) if check else None,
            stop_signal=section.stop_signal or "",
            stop_grace_period=10.0 if grace is None else grace,
            cap_add=tuple(dict.fromkeys(section.cap_add or ())),
            cap_drop=tuple(dict.fromkeys(section.cap_drop or ())),
            ulimits=self._try((*path, "ulimits"), lambda: process.ulimits(section.ulimits), {}),
            resources=self._try(limits, lambda: deploy.resources(given.resources), Resources()),
        )

    def _environment(self, path: Path, section: ServiceSection) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for number, entry in enumerate(section.env_file or ()):
            place = place_of(self.root, (*path, "env_file", number))
            found.update(environment.from_file(entry, self.environments, place))
        values = section.environment or {}
        places = self._pair_places((*path, "environment"))
        found.update(environment.inline(values, self.environments, places))
        return found

    def _pair_places(self, path: Path) -> dict[str, Place]:
        """Where each pair stands, in a mapping or in a list of `NAME=value`."""
        parent = find(self.root, path)
        if isinstance(parent, MapNode):
            return {name: entry.key_place for name, entry in parent.entries.items()}
        if not isinstance(parent, ListNode):
            return {}
        items = (item for item in parent.items if isinstance(item, Scalar))
        return {item.text.partition("=")[0]: item.place for item in items}

    def _mounts(self, path: Path, section: ServiceSection) -> tuple[Mount, ...]:
        found: dict[str, Mount] = {}
        for number, entry in enumerate(section.volumes or ()):
            at = (*path, "volumes", number)
            mount = self._try(at, partial(volumes.mount, entry, self.volumes), None)
            self._place_mount(at, mount, found)
        for number, text in enumerate(section.tmpfs or ()):
            at = (*path, "tmpfs", number)
            mount = self._try(at, partial(volumes.tmpfs, text), None)
            self._place_mount(at, mount, found)
        return tuple(found.values())

    def _place_mount(self, at: Path, mount: Mount | None, found: dict[str, Mount]) -> None:
        if mount is None:
            return
        if mount.target in found:
            self._error(at, f"{mount.target} is mounted twice")
        found[mount.target] = mount

    def _grants(self, path: Path, kind: ContentKind, section: ServiceSection) -> tuple[Grant, ...]:
        key = f"{kind}s"
        found: dict[str, Grant] = {}
        entries = section.configs if kind is ContentKind.CONFIG else section.secrets
        for number, entry in enumerate(entries or ()):
            at = (*path, key, number)
            grant = self._try(at, partial(contents.grant, kind, entry), None)
            if grant is not None and grant.target in found:
                self._error(at, f"two {key} stand at {grant.target}")
            if grant is not None:
                found[grant.target] = grant
        return tuple(found.values())

    def _error(self, path: Path, text: str) -> None:
        self.environments.report.error(place_of(self.root, path), text, dotted(path))

    def _key_error(self, path: Path, text: str) -> None:
        """A problem with what a key asks for, in the key's own line."""
        self.environments.report.error(key_place_of(self.root, path), text, dotted(path))

    def _check_mode(self, path: Path, given: deploy.DeploySection, mode: Mode) -> None:
        if mode is not Mode.GLOBAL:
            return
        if given.strategy and StrategyKind(given.strategy.type).weighted:
            text = f"{given.strategy.type} is for replicated services: use rolling or recreate"
            self._error((*path, "deploy", "strategy"), text)
        if given.replicas is not None:
            self._error((*path, "deploy", "replicas"), "a global service has one task on each node")
        if given.placement and given.placement.max_replicas_per_node:
            at = (*path, "deploy", "placement", "max_replicas_per_node")
            self._error(at, "a global service has one task on each node")

    def _lacks_http(self, path: Path, section: ServiceSection) -> str:
        """What the service lacks for requests that are seen one by one; '' when they are."""
        entries = section.ports or ()
        if any(entry.app_protocol == "http" for entry in entries):
            return ""
        if not entries:
            return "add `ports:` with `app_protocol: http`"
        line = place_of(self.root, (*path, "ports", 0)).line
        return f"port {entries[0].target} is tcp, add `app_protocol: http` to it in line {line}"

    def _strategy(
        self, at: Path, section: strategy.StrategySection, singleton: bool, http: str
    ) -> Strategy:
        policies = {
            wanted.at: self._try(
                (*at, *wanted.at), partial(wanted.build, measured=not http), AnalysisPolicy()
            )
            for wanted in judged.analyses(section)
        }
        for place, text in judged.faults(section, http):
            self._key_error((*at, *place), text)
        return self._try(
            at, lambda: strategy.from_strategy(section, singleton, policies), Strategy()
        )

    def _stages(
        self, path: Path, sections: Mapping[str, features.FeatureSection], http: str
    ) -> Mapping[str, Strategy]:
        found: dict[str, Strategy] = {}
        for name, section in sorted(sections.items()):
            given, at = section.strategy, (*path, name, "strategy")
            if given is None:
                continue
            policies = {
                wanted.at: self._try(
                    (*at, *wanted.at), partial(wanted.build, measured=not http), AnalysisPolicy()
                )
                for wanted in stages.analyses(given, measured=not http)
            }
            for place, text in stages.faults(given, http):
                self._key_error((*at, *place), text)
            found[name] = stages.build(given, section.rollout or 0, policies)
        return found

    def _strategies(
        self, path: Path, given: deploy.DeploySection, singleton: bool, http: str
    ) -> tuple[Strategy, Strategy]:
        at = (*path, "deploy")
        if given.strategy and given.update_config:
            text = "strategy and update_config are both given: they say the same, keep one"
            self._key_error((*at, "update_config"), text)
        section = given.strategy or strategy.StrategySection(type="rolling")
        update = self._strategy((*at, "strategy"), section, singleton, http)
        if given.update_config:
            update = strategy.from_update(given.update_config, singleton)
        back = strategy.rollback(update, given.rollback_config)
        for key, found in (("strategy", update), ("rollback_config", back)):
            if singleton and strategy.overlaps(found):
                key = "update_config" if key == "strategy" and given.update_config else key
                kind = found.kind.value if found.kind.weighted else "start-first"
                instead = "rolling or recreate" if found.kind.weighted else "stop-first"
                self._error(
                    (*at, key),
                    f"{kind} runs two tasks at once on a volume that is written to:"
                    f" use {instead}, or `shared: true` on the volume if that is safe",
                )
                break
        return update, back


def is_singleton(container: ContainerSpec) -> bool:
    """Whether two tasks of the service must not run at once on one slot: it writes to a volume."""
    return any(
        mount.kind is not MountKind.TMPFS and not mount.read_only and not mount.shared
        for mount in container.mounts
    )


def _labels(section: Mapping[str, str | None] | None) -> dict[str, str]:
    return {key: value or "" for key, value in (section or {}).items()}
