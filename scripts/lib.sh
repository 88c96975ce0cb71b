# Shell functions for the scripts beside this file: they source it, nobody runs it.
# It sets ROOT, VENV and PYTHON, and makes what is missing: the virtual environment, the packages of the
# tests' OpenID provider, a browser, PHP, an old client library.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
VENV="$ROOT/.venv"
PYTHON="$VENV/bin/python"
NODE_FOLDER="$ROOT/tests/integration/node"
export PIP_DISABLE_PIP_VERSION_CHECK=1

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

# quietly WHAT COMMAND...: says WHAT it does; shows the command's output only if it fails.
quietly() {
    local what="$1" output
    shift
    printf '   %s\n' "$what" >&2
    if ! output="$("$@" 2>&1)"; then
        printf '%s\n' "$output" >&2
        die "failed: $what"
    fi
}

# fits PYTHON: whether it really runs, is new enough and can make virtual environments.
fits() {
    "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in python3.13 python3.12 python3.11 python3; do
        if fits "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    die "Python 3.11 or newer with its venv module is needed, and none was found." \
        "On Debian and Ubuntu: apt-get install python3 python3-venv; elsewhere see the Python downloads."
}

checksum() {
    cat "$@" | cksum | tr -d '\n'
}

# ensure_venv [EXTRA]: makes .venv with this checkout installed in it, and EXTRA (`test`). Does nothing
# if a run since the last change of the metadata did it, with the same extra or with `test`.
ensure_venv() {
    local extra="${1:-}" stamp="$VENV/.installed" state
    state="$ROOT $(checksum "$ROOT/setup.cfg" "$ROOT/pyproject.toml" "$ROOT/constraints.txt")"
    if fits "$PYTHON" && [ -f "$stamp" ]; then
        case "$(cat "$stamp")" in
            "$state $extra" | "$state test") return ;;
        esac
    fi
    if ! fits "$PYTHON"; then
        local python
        python="$(find_python)"
        quietly "making the virtual environment .venv" "$python" -m venv --clear "$VENV"
    fi
    rm -f "$stamp"
    quietly "installing the pinned packages into .venv" \
        "$PYTHON" -m pip install --quiet -c "$ROOT/constraints.txt" -e "$ROOT${extra:+[$extra]}"
    printf '%s\n' "$state $extra" >"$stamp"
}

# apt_install PACKAGE...: fails where this is not Debian, or where we may not install.
apt_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    quietly "updating the list of Debian packages" apt-get update -qq
    quietly "installing $*" env DEBIAN_FRONTEND=noninteractive \
        apt-get -o DPkg::Lock::Timeout=300 install -qq -y --no-install-recommends "$@"
}

node_fits() {
    command -v npm >/dev/null && node -e 'process.exit(+(parseInt(process.versions.node) < 20))' 2>/dev/null
}

# ensure_node: Node.js 20 or newer, and the pinned OpenID provider of the tests.
ensure_node() {
    node_fits || (apt_install nodejs npm) || true
    node_fits || die "The tests log in at a real OpenID provider, which needs Node.js 20 or newer, with npm." \
        "On Debian 13 and Ubuntu 25.04: apt-get install nodejs npm; elsewhere see the Node.js downloads." \
        "To leave those tests out: OXD_TEST_SKIP_NODE=1 ./scripts/test"
    local stamp="$NODE_FOLDER/node_modules/.installed" state
    state="$(checksum "$NODE_FOLDER/package.json" "$NODE_FOLDER/package-lock.json")"
    if [ "$(cat "$stamp" 2>/dev/null || true)" != "$state" ]; then
        quietly "installing the OpenID provider of the tests" \
            npm ci --prefix "$NODE_FOLDER" --ignore-scripts --no-audit --no-fund
        printf '%s\n' "$state" >"$stamp"
    fi
}

# ensure_redis: the command redis-server; the tests start servers of their own, the system's service stays off.
ensure_redis() {
    command -v redis-server >/dev/null || (apt_install redis-server) || true
    command -v redis-server >/dev/null || die "The tests keep sites in real Redis servers, and need redis-server." \
        "On Debian: apt-get install redis-server; elsewhere, your system's package of Redis or Valkey." \
        "To leave those tests out: OXD_TEST_SKIP_REDIS=1 ./scripts/test"
}

# ensure_softhsm: a PKCS#11 token without hardware; the tests keep keys in tokens of their own.
ensure_softhsm() {
    command -v softhsm2-util >/dev/null || (apt_install softhsm2) || true
    command -v softhsm2-util >/dev/null || die "The tests keep keys in a PKCS#11 token, and need SoftHSM, with the command softhsm2-util." \
        "On Debian: apt-get install softhsm2; elsewhere, your system's package of SoftHSM 2." \
        "To leave those tests out: OXD_TEST_SKIP_SOFTHSM=1 ./scripts/test"
}

browser_fits() {
    command -v chromium >/dev/null && command -v chromedriver >/dev/null
}

# ensure_chromium: the browser that clicks through the pages, and its driver.
ensure_chromium() {
    browser_fits || (apt_install chromium chromium-driver fonts-liberation) || true
    browser_fits || die "The tests click through pages in Chromium, and need the commands chromium and chromedriver." \
        "On Debian: apt-get install chromium chromium-driver; elsewhere, your system's packages of both." \
        "To leave those tests out: OXD_TEST_SKIP_BROWSER=1 ./scripts/test"
}

# ensure_php: the language of the library that most sites use; a test calls as it does.
ensure_php() {
    command -v php >/dev/null || apt_install php-cli || true
    command -v php >/dev/null || die "A test calls the server as the old PHP library does, and needs the command php." \
        "On Debian: apt-get install php-cli; elsewhere, your system's package of PHP's command line." \
        "To leave that test out: OXD_TEST_SKIP_PHP=1 ./scripts/test"
}

# ensure_oxdpython: the old Python 2 client library, pinned by its hash, unpacked but not installed: it
# runs on an interpreter of its own. tests/integration/python2.py knows the folder.
ensure_oxdpython() {
    local folder="$VENV/oxdpython" pin="$ROOT/tests/integration/oxdpython.txt" download
    [ -d "$folder" ] && cmp -s "$pin" "$folder/pin.txt" && return
    download="$(mktemp -d)"
    quietly "fetching the client library oxdpython" \
        "$PYTHON" -m pip download --quiet --no-deps --require-hashes -r "$pin" -d "$download"
    rm -rf "$folder"
    mkdir "$folder"
    tar -xzf "$download"/oxdpython-*.tar.gz -C "$folder" --strip-components=1
    rm -rf "$download"
    cp "$pin" "$folder/pin.txt"
}

# ensure_debian_tools: what builds a Debian package, and what checks the units in it.
ensure_debian_tools() {
    debian_tools_fit || (apt_install dpkg-dev debhelper python3 python3-venv systemd) || true
    debian_tools_fit || die "The Debian package is built by debhelper, with Debian's Python 3.11 or newer." \
        "On Debian: apt-get install dpkg-dev debhelper python3-venv systemd" \
        "To leave its tests out: OXD_TEST_SKIP_DEBIAN=1 ./scripts/test"
}

debian_tools_fit() {
    local tool
    for tool in dh dpkg-buildpackage systemd-analyze; do
        command -v $tool >/dev/null || return 1
    done
    fits /usr/bin/python3
}

KEYCLOAK=26.0.7 # runs on Java 17
KEYCLOAK_CHECKSUM=25353b74613bcf72db67f8addbd88d832c705a69333091a16573d249d665fe21

keycloak_tools_fit() {
    command -v mvn >/dev/null && java -version 2>&1 | grep -Eq '"(1[7-9]|[2-9][0-9])\.?'
}

# ensure_keycloak: an authorization server of other people's, unpacked into .tools/; sets TEST_KEYCLOAK_HOME.
ensure_keycloak() {
    local tools="$ROOT/.tools" name="keycloak-quarkus-dist-$KEYCLOAK.zip"
    export TEST_KEYCLOAK_HOME="$tools/keycloak-$KEYCLOAK"
    keycloak_tools_fit || (apt_install openjdk-17-jre-headless maven) || true
    keycloak_tools_fit || die "Keycloak cannot be had: it needs Java 17 or newer, and Maven to fetch it." \
        "On Debian 12: apt-get install openjdk-17-jre-headless maven"
    if [ -f "$TEST_KEYCLOAK_HOME/.unpacked" ]; then return; fi
    mkdir -p "$tools"
    quietly "fetching Keycloak $KEYCLOAK" mvn -q -B dependency:get -Dtransitive=false \
        "-Dartifact=org.keycloak:keycloak-quarkus-dist:$KEYCLOAK:zip"
    quietly "copying it" mvn -q -B dependency:copy "-Dartifact=org.keycloak:keycloak-quarkus-dist:$KEYCLOAK:zip" \
        "-DoutputDirectory=$tools"
    printf '%s  %s\n' "$KEYCLOAK_CHECKSUM" "$tools/$name" | sha256sum --check --quiet ||
        die "Keycloak cannot be had: what was fetched is not version $KEYCLOAK as it is known here."
    rm -rf "$TEST_KEYCLOAK_HOME"
    quietly "unpacking it" "$PYTHON" -m zipfile -e "$tools/$name" "$tools"
    rm "$tools/$name"
    touch "$TEST_KEYCLOAK_HOME/.unpacked"
}
