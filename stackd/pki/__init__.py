"""Who is a member of the cluster: its authority, certificates, join tokens. Bytes in and out."""
