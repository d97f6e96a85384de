"""stackd deploys stacks of containers from Git. The map of the code is docs/architecture.md.

gRPC reads its environment once, when it is first imported, so what it must find is set here,
before any module of stackd can import it: no TLS 1.2 (`wire.tls` says how), and no fork handlers,
since stackd forks only to exec.
"""

import os

__version__ = "0.1.0"

os.environ["GRPC_SSL_CIPHER_SUITES"] = "ECDHE-RSA-AES256-GCM-SHA384"
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
