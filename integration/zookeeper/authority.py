"""Certificates for servers and clients of ZooKeeper."""

from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization


class Authority:
    """Signs certificates and writes them into a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._ca = trustme.CA()
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, name: str) -> tuple[Path, Path, Path]:
        """Return files with the certificate of a name, its key, and both (which is what ZooKeeper wants)."""
        found = self._ca.issue_cert(name)
        chain, key, both = (self._folder / f"{name}.{part}.pem" for part in ("chain", "key", "both"))
        # The server reads no other form of a key.
        pkcs8 = serialization.load_pem_private_key(found.private_key_pem.bytes(), None).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain.write_bytes(found.cert_chain_pems[0].bytes())
        key.write_bytes(pkcs8)
        both.write_bytes(pkcs8 + chain.read_bytes())
        return chain, key, both
