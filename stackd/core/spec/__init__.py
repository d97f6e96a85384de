"""Stack files: bytes in, a `StackSpec` with its contents or every problem with its place out.

Pure: callers read all files (`wanted_files` says which) and hand them to `load`. Nothing is ever
executed or fetched. One module per section of a stack file; the way of a file is
reader -> interpolation -> merging -> validation -> assembly -> references, led by `loading`.
"""

from stackd.core.spec.context import DOTENV, Context, Origin, SourceFile
from stackd.core.spec.loading import Bundle, Loaded, load, wanted_files
from stackd.core.spec.naming import is_skipped_folder, is_stack_file, stack_name
from stackd.core.spec.rendering import content_hash, render
from stackd.core.spec.schema import schema

__all__ = [
    "DOTENV",
    "Bundle",
    "Context",
    "Loaded",
    "Origin",
    "SourceFile",
    "content_hash",
    "is_skipped_folder",
    "is_stack_file",
    "load",
    "render",
    "schema",
    "stack_name",
    "wanted_files",
]
