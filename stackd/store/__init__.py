"""State that survives: etcd's vocabulary (`kv`), its drivers, and typed tables over it."""
