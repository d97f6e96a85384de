"""Ports that a stack file leaves open."""

from stackd.core.model.stack import AppProtocol, Port
from stackd.core.model.strategy import Preview, Strategy
from stackd.core.network import ports
from tests.fakes.simulation import Simulation, web

OPEN = Port(target=80)
HTTP = Port(target=80, protocol=AppProtocol.HTTP)


def test_open_ports_are_chosen_once_and_stay() -> None:
    spec = web(ports=(OPEN, HTTP, Port(target=90, published=8090)))
    first = ports.choose(spec, {}, {30000})
    assert first == {"80/tcp": 30001, "80/http": 30002}
    assert ports.choose(spec, first, {30000, 30001, 30002}) == first


def test_declared_and_chosen_ports_are_taken() -> None:
    sim = Simulation(1)
    spec = web(ports=(OPEN, Port(target=90, published=8090)))
    sim.deploy("shop", {"web": (spec, "a")})
    sim.settle()
    assert ports.taken(sim.world) == {8090, 30000}


def test_the_port_of_a_preview_is_taken() -> None:
    sim = Simulation(1)
    policies = [Strategy(preview=Preview(published=30000)), Strategy(preview=Preview(host="a.b"))]
    services = {
        name: (web(name=name, strategy=policy), "a")
        for name, policy in zip(("web", "db"), policies, strict=True)
    }
    sim.deploy("shop", services)
    assert ports.taken(sim.world) == {30000}
