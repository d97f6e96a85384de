"""HTTP of the manager: /healthz and /metrics."""
