"""Async primitives without a domain: clock, control loop, back-off, tasks, child processes."""
