"""Images of the cluster: load, pull, list, inspect, remove."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, local_path, where
from stackd.cli.output import emit, print_json, print_lines
from stackd.cli.table import print_table
from stackd.core.model.api import ImageRequest, ImageRows, Text


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @app.command("load")
    def load(
        context: typer.Context,
        source: Annotated[str, typer.Option("-i", "--input", metavar="TAR|OCI-DIR")],
        tag: Annotated[str, typer.Option("--tag", help="When the archive has no name.")] = "",
        output: Output = "text",
    ) -> None:
        """Load images from an OCI layout, an OCI archive or a docker archive.

        Example: stackd image load -i web.tar --tag web:1
        """
        checked_output(output)
        path = local_path(source)
        request = ImageRequest(name=tag, path=str(path))
        doing = f"Loading {path.name}{_size(path)}"
        _show(call(where(context), "ImageLoad", request, ImageRows, doing), output)

    @app.command("pull")
    def pull(context: typer.Context, name: str, output: Output = "text") -> None:
        """Pull an image from its registry into the cluster's blob store.

        Example: stackd image pull registry.example/web:1
        """
        checked_output(output)
        request = ImageRequest(name=name)
        rows = call(where(context), "ImagePull", request, ImageRows, f"Pulling {name}")
        _show(rows, output)

    @app.command("ls")
    def listing(
        context: typer.Context,
        digests: Annotated[bool, typer.Option("--digests", help="Whole digests.")] = False,
        output: Output = "text",
    ) -> None:
        """List local images. Example: stackd image ls --digests"""
        checked_output(output)
        rows = call(where(context), "ImageList", ImageRequest(), ImageRows)
        _show(rows, output, whole=digests)

    @app.command("inspect")
    def inspect(context: typer.Context, name: str, output: Output = "text") -> None:
        """Print an image's configuration as JSON. Example: stackd image inspect web:1"""
        checked_output(output)
        answer = call(where(context), "ImageInspect", ImageRequest(name=name), Text)
        print(answer.text)

    @app.command("rm")
    def remove(context: typer.Context, name: str, output: Output = "text") -> None:
        """Forget a local image name and the blobs that only it used.

        Example: stackd image rm web:1
        """
        checked_output(output)
        answer = call(where(context), "ImageRemove", ImageRequest(name=name), Text)
        emit(answer, output, lambda a: print_lines([a.text]))


def _size(path: Path) -> str:
    """How large an archive is; '' for folders and what cannot be read."""
    with contextlib.suppress(OSError):
        return f" ({path.stat().st_size / 1e6:.1f} MB)" if path.is_file() else ""
    return ""


def _show(rows: ImageRows, output: str, *, whole: bool = False) -> None:
    if output == "json":
        print_json(rows.images)
        return
    print_table(
        ("name", "digest", "size"),
        (
            (i.name, i.digest if whole else i.digest[:19], f"{i.size / 1e6:.1f} MB")
            for i in rows.images
        ),
    )
