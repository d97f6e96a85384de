"""Git repositories as sources: bare mirrors, read by object, never a work tree.

`urls` judges addresses and references before git sees them, `environment` makes git harmless,
`remote` asks what a reference means there, `repo.GitRepo` keeps one mirror, `answers` says what
git's errors mean, `trees` lists and reads objects, `watch` tells when to look.
Called by the manager, and by `stackd diff` for `clone`.
"""
