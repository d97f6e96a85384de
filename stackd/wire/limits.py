"""Bounds on what a peer may make us hold: one place for every gRPC server and channel."""

from collections.abc import Sequence

MESSAGE_BYTES = 4 * 1024 * 1024
CONTROL_BYTES = 64 * 1024 * 1024
"""On root's own socket, where a whole stack with its contents is one message."""
PART_BYTES = 1024 * 1024
"""An assignment is sent in parts of this size."""
ASSIGNMENT_BYTES = 256 * 1024 * 1024
CHUNK_BYTES = 512 * 1024
CONCURRENT_RPCS = 10_000
STREAMS_PER_CONNECTION = 100
METADATA_BYTES = 8 * 1024
FAILURE_BYTES = 256 * 1024
"""Errors with many problems travel in trailing metadata of the root socket."""
AGENT_CONNECTIONS = 4096
"""On the agents' port, with those whose handshake is not over (10 s at most)."""
JOINER_CONNECTIONS = 256
JOINER_SECONDS = 30
"""How long a joiner may stay connected."""
CONNECT_SECONDS = 5
"""For one attempt of an agent to connect, handshake included."""
KNOCK = 0.3
"""Between two looks of an agent whether a manager can be reached, in seconds."""

Options = Sequence[tuple[str, int | str]]


def agent_port_options() -> Options:
    """For the port that agents reach."""
    return (*_port_options(), ("grpc.max_allowed_incoming_connections", AGENT_CONNECTIONS))


def joiner_port_options() -> Options:
    """For the port that strangers reach: nobody stays for long."""
    return (
        *_port_options(),
        ("grpc.max_allowed_incoming_connections", JOINER_CONNECTIONS),
        ("grpc.max_connection_age_ms", JOINER_SECONDS * 1000),
        ("grpc.max_connection_age_grace_ms", JOINER_SECONDS * 1000),
    )


def _port_options() -> Options:
    return (
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES),
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.so_reuseport", 0),
    )


def channel_options() -> Options:
    """For an agent's channel to a manager. Reconnecting is the session's business, so gRPC's own
    back-off is kept short; a connection that a gap in the network has hung is given up in 8 s."""
    return (
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.keepalive_time_ms", 4_000),
        ("grpc.keepalive_timeout_ms", 4_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", CONNECT_SECONDS * 1000),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),
    )


def control_options() -> Options:
    """For both ends of root's socket."""
    return (
        ("grpc.max_receive_message_length", CONTROL_BYTES),
        ("grpc.max_send_message_length", CONTROL_BYTES),
        ("grpc.max_metadata_size", 2 * FAILURE_BYTES),
        ("grpc.absolute_max_metadata_size", 4 * FAILURE_BYTES),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),
    )
