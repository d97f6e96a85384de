"""stackd deploys stacks of containers from Git. The map of the code is docs/architecture.md."""

__version__ = "0.1.0"
