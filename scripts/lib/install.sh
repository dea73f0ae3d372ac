# Which Debian packages Shunt needs, and how to get those that are missing. Sourced by scripts/demo and
# scripts/test. Asks nothing, reads nothing from standard input, and leaves no server running that a package
# would start by itself.

packages_build="gcc libc6-dev cmake ninja-build pkg-config libevent-dev libssl-dev libconfig-dev libjansson-dev zlib1g-dev libcurl4-openssl-dev
    libcap-dev libc-ares-dev libseccomp-dev libsystemd-dev
    libcmocka-dev python3 scdoc"  # so that the release preset builds as the README has it, with man pages

# Beyond the build: compilers and checkers, the sanitizers' run time, and the real programs that the tests
# put behind Shunt.
packages_test="clang clang-format clang-tidy llvm libclang-rt-14-dev python3-pytest
    nginx libnginx-mod-stream haproxy hitch pen wrk redis-server redis-tools postgresql postgresql-contrib
    mariadb-server mariadb-client slapd ldap-utils python3-aiosmtpd
    curl gnutls-bin sslscan testssl.sh netcat-openbsd procps openssl iproute2 tmux zsh fish prometheus
    python3-jsonschema"

packages_root=      # what makes a command run as root
packages_held=false # whether policy-rc.d is ours

# packages_missing PACKAGE...: prints those that are not installed.
packages_missing() {
    local package
    for package in "$@"; do
        if ! dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed'; then
            printf '%s ' "$package"
        fi
    done
}

# What to put before a command that needs root: nothing for root, sudo where it works without a question.
# Fails when neither is possible.
packages_become_root() {
    if [ "$(id -u)" -eq 0 ]; then
        return 0
    fi
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        printf 'sudo -n'
        return 0
    fi
    return 1
}

packages_apt() {
    $packages_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" \
        </dev/null
}

# Package scripts ask policy-rc.d before they start a server; 101 means "not now". Only put there when the
# system has none of its own, and taken away again.
packages_hold_servers() {
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        packages_held=true
        trap packages_release_servers EXIT
        printf '#!/bin/sh\nexit 101\n' | $packages_root tee /usr/sbin/policy-rc.d >/dev/null
        $packages_root chmod 755 /usr/sbin/policy-rc.d
    fi
}

packages_release_servers() {
    if $packages_held; then
        $packages_root rm -f /usr/sbin/policy-rc.d
        packages_held=false
        trap - EXIT
    fi
}

# install_packages PROFILE: build or test. Returns 1, having said what to do, when packages are missing and
# cannot be installed.
install_packages() {
    local wanted=$packages_build missing log
    [ "$1" = test ] && wanted="$wanted $packages_test"
    if ! command -v dpkg-query >/dev/null; then
        echo "not a Debian system: make sure that these are installed under the names used here:" >&2
        # shellcheck disable=SC2086
        echo " " $wanted >&2
        return 0
    fi
    # shellcheck disable=SC2086
    missing=$(packages_missing $wanted)
    [ -z "$missing" ] && return 0
    if ! packages_root=$(packages_become_root); then
        echo "these packages are missing, and installing them needs root:" >&2
        echo "  sudo apt-get install --no-install-recommends $missing" >&2
        return 1
    fi
    echo "installing: $missing"
    log=$(mktemp)
    packages_hold_servers
    if ! ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1; then
        packages_apt update >"$log" 2>&1 || true
    fi
    # The lists may be older than the archive: then once more with fresh ones.
    # shellcheck disable=SC2086
    if ! packages_apt install --no-install-recommends $missing >"$log" 2>&1 &&
        ! { packages_apt update && packages_apt install --no-install-recommends $missing; } >"$log" 2>&1; then
        packages_release_servers
        tail -20 "$log" >&2
        rm -f "$log"
        echo "apt-get could not install: $missing" >&2
        return 1
    fi
    packages_release_servers
    rm -f "$log"
}

# The compiler's cache, where there is one.
if command -v ccache >/dev/null; then
    export CMAKE_C_COMPILER_LAUNCHER=ccache
fi
