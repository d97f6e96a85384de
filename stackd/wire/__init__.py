"""gRPC servers and clients, errors across connections, TLS. The only package that imports grpc,
with `xds`.

gRPC reads its environment once, when it is first used, so what must be there is set here, before
any module of this package loads it: the TLS 1.2 suites (see `tls`), and no fork handlers, since
stackd only forks to exec.
"""

import os

os.environ["GRPC_SSL_CIPHER_SUITES"] = "ECDHE-RSA-AES256-GCM-SHA384"
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
