#!/usr/bin/env bash
# For a machine that can pull nothing: makes images under the official tags from Debian's packages and from what
# the integration tests have built. Needs root, debootstrap, Docker, Python of Debian's version (3.11).
#   integration/compose/local_images.sh WORK_FOLDER
# Then: PIP_NO_INDEX=1 PIP_FIND_LINKS=/src/wheels docker-compose -f integration/docker-compose.yml up -d --build
set -euo pipefail
work=$(realpath -m "$1")
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${MESHBRIDGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/meshbridge}
mkdir -p "$work"

# Python, and Java with ZooKeeper, as file systems.
base=$work/python
[ -x "$base/usr/bin/python3" ] || debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates,curl bookworm "$base"
java=$work/java
if [ ! -x "$java/usr/bin/java" ]; then
  cp -a "$base" "$java"
  for part in apt/sources.list apt/sources.list.d apt/apt.conf.d ssl/certs/ca-certificates.crt resolv.conf; do
    [ ! -e "/etc/$part" ] || cp -rT "/etc/$part" "$java/etc/$part"
  done
  mkdir -p "$java/usr/share/man/man1"
  mount --bind /proc "$java/proc"
  trap 'umount "$java/proc"' EXIT
  chroot "$java" sh -c 'apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    openjdk-17-jre-headless zookeeper libservlet-api-java libslf4j-java'
  umount "$java/proc"
  trap - EXIT
fi
import() { local from=$1; shift; tar -C "$from" --exclude=./var/cache/apt --exclude=./var/lib/apt/lists -c . | docker import "$@"; }
import "$base" -c 'CMD ["python3"]' - python:3.12-slim
import "$java" - eclipse-temurin:17-jre

# Programs on top of these.
program() { # TAG BASE FILE ENTRYPOINT
  local folder
  folder=$(mktemp -d)
  cp "$3" "$folder/program"
  printf 'FROM %s\nCOPY --chmod=755 program /usr/local/bin/program\n%s\n' "$2" "$4" | sed 's/ --chmod=755//' >"$folder/Dockerfile"
  chmod 755 "$folder/program"
  DOCKER_BUILDKIT=0 docker build -q -t "$1" "$folder"
  rm -rf "$folder"
}
program istio/pilot:1.31.0 python:3.12-slim "$cache"/pilot-discovery-* 'ENTRYPOINT ["program"]'
# The program is the agent alone; the official image takes `agent` as its first word.
program hashicorp/consul:1.22.0 python:3.12-slim "$cache/consul-1.22.0/consul" \
  'ENTRYPOINT ["sh", "-c", "[ \"$1\" != agent ] || shift; exec program \"$@\"", "consul"]'
[ ! -x /usr/bin/prometheus ] || program prom/prometheus:v3.5.0 python:3.12-slim /usr/bin/prometheus 'ENTRYPOINT ["program"]'
folder=$(mktemp -d)
cat >"$folder/Dockerfile" <<'DOCKER'
FROM eclipse-temurin:17-jre
RUN printf 'tickTime=500\ndataDir=/data\nclientPort=2181\nadmin.enableServer=false\n' >/zoo.cfg && mkdir -p /data
CMD ["java", "-Xmx256m", "-cp", "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar:/usr/share/java/servlet-api.jar", \
  "org.apache.zookeeper.server.quorum.QuorumPeerMain", "/zoo.cfg"]
DOCKER
DOCKER_BUILDKIT=0 docker build -q -t zookeeper:3.8.4 "$folder"
# Eureka's build needs Maven's repository: only its result is taken.
cp "$cache"/eureka-server-*.jar "$folder/eureka-server.jar"
sed -n '/^FROM eclipse/,$p' "$here/eureka/Dockerfile" | sed 's#--from=build /src/target/#./#' >"$folder/Dockerfile"
DOCKER_BUILDKIT=0 docker build -q -t meshbridge-eureka:dev "$folder"
rm -rf "$folder"

# Wheels, for builds without a network.
python3 -m venv "$work/venv"
"$work/venv/bin/pip" wheel -q -c "$root/constraints.txt" -w "$root/wheels" "$root[all]" py-eureka-client
rm -f "$root"/wheels/meshbridge-*
"$work/venv/bin/pip" download -q -d "$root/wheels" 'setuptools>=77' wheel cyclonedx-bom
rm -rf "$here/lab/wheels"
cp -r "$root/wheels" "$here/lab/wheels"
