"""Made from `schemas/rpc/*.proto`; see the README there. Not edited by hand."""
