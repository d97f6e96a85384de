"""The only code that touches the kernel: runc, overlays, netns, links, nftables, cgroups, Envoy."""
