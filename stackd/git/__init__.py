"""Git sources: bare clones, refs, blobs at a commit; never a work tree."""
