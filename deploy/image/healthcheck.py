"""Exits with 0 when the bridge on this machine answers; for the container's HEALTHCHECK.

It asks whether the process lives, not whether it is ready: a bridge that waits for a registry must not be
restarted, as that would cost what it has read so far. MESHBRIDGE_HEALTH_URL says where to ask.
"""

import os
import ssl
import sys
import urllib.request

URL = "http://127.0.0.1:16080/healthz"


def main() -> int:
    """Return the exit code."""
    url = os.environ.get("MESHBRIDGE_HEALTH_URL", URL)
    if not url.startswith(("http://", "https://")):
        print(f"MESHBRIDGE_HEALTH_URL: {url!r} is no http:// or https:// address", file=sys.stderr)
        return 1
    # The name in the certificate is that of the service, and nothing secret is sent or believed.
    context = ssl._create_unverified_context()  # noqa: S323 - see above
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with direct.open(url, timeout=2):
            return 0
    except OSError as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
