"""A mesh's authority, and certificates with SPIFFE identities signed by it."""

import datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID = datetime.timedelta(days=1)


class Identity(msgspec.Struct, frozen=True, gc=False):
    """Files with a key, its certificate, and the authority's, as Istio's agent names them."""

    folder: Path

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"

    @property
    def chain(self) -> Path:
        return self.folder / "cert-chain.pem"

    @property
    def root(self) -> Path:
        return self.folder / "root-cert.pem"


def spiffe(namespace: str, account: str) -> str:
    """Return the identity of a service account."""
    return f"spiffe://cluster.local/ns/{namespace}/sa/{account}"


class Authority:
    """Issues certificates into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "the mesh")])
        usage = x509.BasicConstraints(ca=True, path_length=None)
        self._certificate = (self._builder(self._name, self._key).add_extension(usage, critical=True)).sign(
            self._key, hashes.SHA256()
        )

    def issue(self, name: str, uri: str | None) -> Identity:
        """Write a key and a certificate with this one identity, or with none at all."""
        identity = Identity(self._folder / name)
        identity.folder.mkdir(parents=True)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
        both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = self._builder(subject, key).add_extension(both, critical=False)
        if uri is not None:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
            builder = builder.add_extension(names, critical=False)
        identity.chain.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))
        identity.root.write_bytes(_pem(self._certificate))
        identity.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return identity

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _VALID)
            .not_valid_after(now + _VALID)
        )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
