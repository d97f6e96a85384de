"""The cluster itself: show."""

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import emit, print_lines
from stackd.core.model.api import ClusterAnswer, NameRequest


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @app.callback()
    def group() -> None:
        """The cluster itself."""

    @app.command("show")
    def show(context: typer.Context, output: Output = "text") -> None:
        """Show the cluster's id, version, sizes and settings. Example: stackd cluster show"""
        checked_output(output)
        answer = call(where(context), "ClusterShow", NameRequest(), ClusterAnswer)
        emit(answer, output, _show)


def _show(answer: ClusterAnswer) -> None:
    print_lines(
        [
            f"id        {answer.id}",
            f"version   {answer.version}",
            f"managers  {', '.join(answer.managers)}",
            f"nodes     {answer.nodes}",
            f"stacks    {answer.stacks}",
            f"tasks     {answer.tasks}",
            *(f"{key:<9} {value}" for key, value in sorted(answer.settings.items())),
        ]
    )
