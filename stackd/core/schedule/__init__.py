"""Which node a task runs on, and if none, why: filters that explain, then rank, then assign.

`assign.decide` is the scheduler loop's decider; `assign.can_place` serves plans.
"""
