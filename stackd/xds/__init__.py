"""The traffic table as Envoy's configuration, and its delivery by delta xDS over a unix socket.

`render` table -> fragments · `snapshot` all resources and the order of a change · `session` one
Envoy's stream · `server` all streams · `admin` counts and the barrier · `proxy` the driver.
"""
