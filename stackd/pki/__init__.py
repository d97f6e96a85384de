"""The cluster's certificate authority: join tokens, signing, node certificates."""
