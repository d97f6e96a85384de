"""Renderers: entries of the traffic table as protobuf messages. Values in, values out.

`clusters` endpoints and how they are reached · `routes` which request goes where · `listeners`
ports · `table` all of it as one snapshot.
"""
