import importlib
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from meshbridge.schemas import proto

ROOT = Path(__file__).parents[2]
HERE = Path(proto.__file__).parent
PROTOS = sorted(path.name for path in HERE.glob("*.proto"))


def installed_grpc_tools() -> str:
    try:
        return metadata.version("grpcio-tools")
    except metadata.PackageNotFoundError:
        return "none"


PINNED = re.findall(r"^grpcio-tools==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]
needs_grpc_tools = pytest.mark.skipif(
    installed_grpc_tools() != PINNED,
    reason=f"grpcio-tools is {installed_grpc_tools()}, not {PINNED}: generated protobuf code is NOT compared",
)


@needs_grpc_tools
def test_committed_code_is_what_the_proto_files_give(tmp_path) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}"]
    command += [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", *PROTOS]
    subprocess.run(command, check=True)

    generated = {path.name: path.read_text() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_text() for path in HERE.glob("*_pb2.py*")}
    assert generated == committed, "run `make proto` (with this grpcio-tools)"


def test_makefile_regenerates_all_of_them() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\nproto:")[2].partition("\n\n")[0]

    assert sorted(re.findall(r"\w+\.proto", recipe.replace("grpc_tools.protoc", ""))) == PROTOS


@pytest.mark.parametrize("name", PROTOS)
def test_file_names_are_ours_and_package_names_istios(name) -> None:
    module = importlib.import_module(f"meshbridge.schemas.proto.{name.removesuffix('.proto')}_pb2")

    assert module.DESCRIPTOR.name.startswith("meshbridge_")
    assert module.DESCRIPTOR.package.startswith("istio.")
