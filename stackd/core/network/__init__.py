"""Addresses, links and rules of a node's networks as values: what should be, never how."""
