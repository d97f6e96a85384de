"""The leader's loops: each watches the store, calls one pure function, commits typed changes."""
