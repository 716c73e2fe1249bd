#!/bin/sh
# Shows that an image runs as it is meant to: deploy/image/smoke.sh [IMAGE]. Needs Docker.
set -eu
image=${1:-meshbridge:0.1.0}
folder=$(mktemp -d)
name=meshbridge-smoke-$$
trap 'docker rm -f "$name" >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
chmod 755 "$folder"
cat >"$folder/meshbridge.yaml" <<'YAML'
sources: [{name: vms, kind: inventory, files: [/etc/meshbridge/vms.yaml]}]
safety: {state_dir: /var/lib/meshbridge}
YAML
echo 'services: [{name: shop, instances: [{address: 192.0.2.1, port: 8080}]}]' >"$folder/vms.yaml"

# No capabilities, nothing to write to but the volume, no root.
docker run -d --name "$name" --read-only --cap-drop ALL --security-opt no-new-privileges --memory 256m --pids-limit 64 \
  -v "$folder:/etc/meshbridge:ro" "$image" >/dev/null

tries=0
until [ "$(docker inspect -f '{{.State.Health.Status}}' "$name")" = healthy ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 30 ] || { echo "not healthy"; docker logs "$name"; exit 1; }
  sleep 1
done
echo "healthy, as $(docker exec "$name" python3 -c 'import os; print(os.getuid(), os.getgid())')"
docker exec "$name" python3 -c "open('/opt/meshbridge/x', 'w')" 2>/dev/null && { echo "root file system is writable"; exit 1; }
docker exec "$name" meshbridge get serviceentries
docker exec "$name" sh -c 'ls /var/lib/meshbridge && test -s /opt/meshbridge/sbom.cdx.json'
docker exec "$name" python3 -c "
import json
bom = json.load(open('/opt/meshbridge/sbom.cdx.json'))
print('bill of materials:', bom['bomFormat'], bom['specVersion'], len(bom['components']), 'components')
assert any(found['name'] == 'meshbridge' for found in bom['components'])"
docker stop -t 10 "$name" >/dev/null
echo "ended with $(docker inspect -f '{{.State.ExitCode}}' "$name") on request"
docker image inspect -f 'size: {{.Size}} bytes' "$image"
