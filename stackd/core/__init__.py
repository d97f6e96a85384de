"""Decides everything; carries nothing. Values in, values out.

No I/O, clock, randomness, logging or async below here: the time and new ids are arguments,
changes are returned as frozen values. Import contracts and an AST test keep it so.
Inside: `foresight` may use all deciders; the deciders do not import each other; all share `model`.
"""
