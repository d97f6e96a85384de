"""gRPC servers and clients, TLS channels, codecs between messages and the model."""
