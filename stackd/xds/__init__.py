"""The traffic table rendered for Envoy and served by delta xDS, with acks and barrier."""
