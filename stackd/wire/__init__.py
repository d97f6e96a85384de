"""gRPC servers and clients, errors across connections, TLS. The only package that imports grpc,
with `xds`."""
