"""What git says on standard error, as errors by what the caller does next.

Used by `git.remote` and `git.repo` after a command that went to the remote.
"""

import re
from collections.abc import Sequence

from stackd.aio import proc
from stackd.errors import Refused, StackdError, Unavailable

_ANSWERS: Sequence[tuple[str, type[StackdError], str, str]] = (
    ("Host key verification failed|REMOTE HOST IDENTIFICATION", Refused,
     "The host key of {host} is not the one in the known hosts.",
     "Check the key with its owner and add the repository again with --known-hosts."),
    ("Permission denied|Authentication failed|could not read Username|error: 40[13]", Refused,
     "{host} does not accept the credential for this repository.",
     "Add the repository again with --ssh-key or --token-file."),
    ("not appear to be a git repository|epository not found|error: 404|does not exist|"
     "' not found", Refused,
     "There is no repository at this address.", "Check the address and the credential."),
    ("dubious ownership", Refused, "git refuses the owner of this folder.", ""),
    ("[Ff]ile size limit|died of signal 25|File too large", Refused,
     "The repository is larger than stackd fetches (512 MiB).", "Use a smaller repository."),
    ("certificate", Unavailable, "The certificate of {host} is not trusted: {cause}.",
     "Check its CA and this machine's clock."),
    ("redirect", Refused, "{host} redirects to another address.",
     "Add the repository with the address it redirects to."),
    ("Could not resolve host", Unavailable, "The host name {host} is not known.",
     "Check the address and the managers' DNS."),
)  # fmt: skip


def translate(done: proc.Completed, host: str) -> StackdError:
    """git's error as one sentence of cause and one of what to do."""
    text = done.stderr.decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.startswith(("fatal:", "error:", "ssh:"))]
    cause = "".join(c for c in (lines[0] if lines else done.error) if c.isprintable())[:300]
    for pattern, kind, sentence, remedy in _ANSWERS:
        if re.search(pattern, text):
            words = {"host": host or "The repository", "cause": cause}
            return kind(sentence.format(**words), remedy)
    return Unavailable(f"git could not read the repository: {cause}.", "It is tried again.")
