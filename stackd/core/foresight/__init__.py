"""Looks ahead: what a plan would run into before anything changes. May use all deciders."""
