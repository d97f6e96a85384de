"""Loaded before every test module: gRPC must find the environment that stackd sets for it."""

import stackd

assert stackd.__version__
