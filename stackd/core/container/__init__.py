"""What a container gets, as values: OCI config, mounts, users, capabilities, system calls, images.

Pure: the texts of /etc/passwd, the facts of the node and all paths are arguments.
"""
