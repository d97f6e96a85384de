"""Images: the cluster's blob store, archives and registries through skopeo, names to digests."""
