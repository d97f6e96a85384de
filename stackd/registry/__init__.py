"""Image names, manifests, the cluster's blob store, archives and registries (through skopeo).

Used by managers (`service.ImageService`) and by agents (`reference`, `manifest`, `blobs`). Nothing
in here unpacks a layer: that is the node's work.
"""
