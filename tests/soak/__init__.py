"""Rollouts again and again under load, with processes killed (`make soak`)."""
