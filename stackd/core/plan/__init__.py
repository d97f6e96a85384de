"""The difference between what is declared and what is recorded, as numbered typed changes.

`make.plan` is a pure function of the tables and a rendered stack; the deployer executes the same
list that `stackd plan` prints (`records`), so a plan cannot lie about what `apply` does.
"""
