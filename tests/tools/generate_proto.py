"""Makes `stackd/wire/gen` from `schemas/rpc/*.proto`: `python -m tests.tools.generate_proto`.

`--check` compares instead of writing; `--release` records the shape that later versions must
stay compatible with.
"""

import json
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "schemas" / "rpc"
TARGET = ROOT / "stackd" / "wire" / "gen"
RELEASED = SOURCES / "released.json"
VIRTUAL = "stackd/wire/gen"


def generate(out: Path) -> None:
    """Write the generated modules below `out`, as `stackd/wire/gen/*`."""
    names = sorted(f"{VIRTUAL}/{path.name}" for path in SOURCES.glob("*.proto"))
    arguments = ["protoc", f"-I{VIRTUAL}={SOURCES}", f"--python_out={out}", f"--pyi_out={out}"]
    if protoc.main([*arguments, *names]) != 0:
        raise SystemExit("protoc failed: see its message above")


def differences() -> list[str]:
    """Names of generated files that are not what the proto files say."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = {path.name: path.read_bytes() for path in (Path(folder) / VIRTUAL).iterdir()}
    kept = {p.name: p.read_bytes() for p in TARGET.glob("*_pb2.py*")}
    return sorted(n for n in fresh.keys() | kept.keys() if fresh.get(n) != kept.get(n))


def main(arguments: list[str]) -> int:
    """Entry of `python -m`; returns the exit code."""
    if "--check" in arguments:
        stale = differences()
        print("\n".join(f"stale: {name}" for name in stale) or "generated code is up to date")
        return 1 if stale else 0
    generate(ROOT)
    if "--release" in arguments:
        from tests.tools import proto_shape

        RELEASED.write_text(json.dumps(proto_shape.shape(), indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
