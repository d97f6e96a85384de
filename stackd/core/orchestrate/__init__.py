"""Makes the counts of a service true with tasks: creates, replaces, asks to go, times out, forgets.

`service.decide` is the orchestrator loop's decider, `deadlines.decide` and `reap` the reaper's.
"""
