"""The nouns. Frozen values with properties only; `docs/glossary.md` has one name for each.

Stored nouns derive from `Record`: each says its table and key. Three fields of a task have one
writer each and are three records (`Task`, `TaskDesired`, `TaskStatus`), so a late or repeated
report is harmless.
"""
