"""A network namespace with one server's address in it, whose packets can be thrown away."""

import os
import shutil
import subprocess
from types import TracebackType
from typing import Self

_TOOLS = ("ip", "iptables")
_PACKAGES = ("iproute2", "iptables")


def missing() -> str:
    """Return why there can be no namespace here, "" where there can; as root the tools are installed."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not all(map(shutil.which, _TOOLS)) and (apt := shutil.which("apt-get")):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        command = [apt, "install", "-y", "-q", *_PACKAGES]
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    lacking = [tool for tool in _TOOLS if not shutil.which(tool)]
    if lacking:
        return f"no {lacking[0]}: apt-get install {' '.join(_PACKAGES)}"
    made = subprocess.run(["ip", "netns", "add", _name("try")], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"no network namespaces: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", _name("try")], check=True)
    return ""


def _name(what: str) -> str:
    return f"mbzk{os.getpid()}{what}"


class Namespace:
    """Exists for as long as `with` lasts. It has two addresses, one of which can be cut off."""

    def __init__(self) -> None:
        self._name = _name("")
        self._here, self._there = _name("h"), _name("t")
        network = f"198.18.{os.getpid() % 256}"
        self._own = f"{network}.1/24"
        self.cut_off, self.open = f"{network}.2", f"{network}.3"

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._remove()

    @property
    def prefix(self) -> tuple[str, ...]:
        """What makes a command run in it."""
        return ("ip", "netns", "exec", self._name)

    def drop(self, *chains: str) -> None:
        """Throw away what comes to the one address (INPUT), what goes from it (OUTPUT), or both."""
        for chain in chains:
            side = "-d" if chain == "INPUT" else "-s"
            _run(*self.prefix, "iptables", "-A", chain, side, self.cut_off, "-j", "DROP")

    def heal(self) -> None:
        """Let everything through."""
        _run(*self.prefix, "iptables", "-F")

    def _make(self) -> None:
        _run("ip", "netns", "add", self._name)
        _run("ip", "link", "add", self._here, "type", "veth", "peer", "name", self._there)
        _run("ip", "link", "set", self._there, "netns", self._name)
        _run("ip", "address", "add", self._own, "dev", self._here)
        _run("ip", "link", "set", self._here, "up")
        for address in (self.cut_off, self.open):
            _run(*self.prefix, "ip", "address", "add", f"{address}/24", "dev", self._there)
        for device in (self._there, "lo"):
            _run(*self.prefix, "ip", "link", "set", device, "up")

    def _remove(self) -> None:
        # The end of the pair that is inside goes with the one that is here.
        for command in (["ip", "link", "delete", self._here], ["ip", "netns", "delete", self._name]):
            subprocess.run(command, stderr=subprocess.DEVNULL, check=False)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
