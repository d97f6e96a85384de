"""The shape of the protocols as plain data, to tell a breaking change from an addition."""

from stackd.wire.gen import agent_pb2, control_pb2, failure_pb2


def shape() -> dict[str, dict[str, str]]:
    """`message X` -> {field number: type}, `service X` -> {method: request, reply, streaming}."""
    found: dict[str, dict[str, str]] = {}
    for module in (agent_pb2, control_pb2, failure_pb2):
        for name, message in module.DESCRIPTOR.message_types_by_name.items():
            found[f"message {name}"] = {str(f.number): _field(f) for f in message.fields}
        for name, service in module.DESCRIPTOR.services_by_name.items():
            found[f"service {name}"] = {m.name: _method(m) for m in service.methods}
    return found


def breaking(old: dict[str, dict[str, str]], new: dict[str, dict[str, str]]) -> list[str]:
    """One sentence for each thing that an old peer relies on and that is gone or different."""
    faults = []
    for holder, members in old.items():
        for key, value in members.items():
            now = new.get(holder, {}).get(key)
            if now != value:
                faults.append(f"{holder} {key}: was {value}, is {now}")
    return faults


def _field(field) -> str:  # type: ignore[no-untyped-def]
    kind = field.message_type.name if field.message_type is not None else str(field.type)
    return f"{field.name} {kind}{' repeated' if field.is_repeated else ''}"


def _method(method) -> str:  # type: ignore[no-untyped-def]
    streams = (method.client_streaming, method.server_streaming)
    return f"{method.input_type.name} {method.output_type.name} {streams}"
