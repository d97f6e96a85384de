"""`stackd doctor`: is this machine fit to run a node?"""

import msgspec
import typer

from stackd.aio.layout import ClusterLayout
from stackd.cli import embedded
from stackd.cli.connect import run
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import print_json, print_lines
from stackd.host import abilities, cluster
from stackd.host.preflight import Finding, examine


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("doctor")
    def doctor(context: typer.Context, output: Output = "text") -> None:
        """Examine this machine: programs, kernel, cgroups, limits, firewall. 1 if it is unfit.

        Example: stackd doctor
        """
        checked_output(output)
        findings = examine()
        if not any(f.fatal for f in findings):
            findings += run(abilities.examine())
            data = where(context).data
            found = cluster.read(data)
            layout = ClusterLayout(data, found.id) if found else None
            findings += run(embedded.firewalls(layout, found))
        if output == "json":
            print_json([msgspec.to_builtins(f) for f in findings])
        else:
            print_lines(_line(f) for f in findings)
        raise SystemExit(1 if any(f.fatal for f in findings) else 0)


def _line(finding: Finding) -> str:
    mark = "FAIL" if finding.fatal else "warn" if finding.remedy else "ok  "
    remedy = f" {finding.remedy}" if finding.remedy else ""
    return f"{mark}  {finding.subject}: {finding.text}.{remedy}"
