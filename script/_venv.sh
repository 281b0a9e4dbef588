# Sourced by the scripts beside it: sets up .venv in the checkout.
# shellcheck shell=sh

fail() {
    echo "$0: $*" >&2
    exit 1
}

# Prints the first Python that is new enough; fails with the missing modules.
find_python() {
    found=
    for python in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11 python; do
        command -v "$python" >/dev/null 2>&1 || continue
        found="$found $python"
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            "$python" -c 'import ensurepip, venv' 2>/dev/null ||
                fail "$python has no venv module (on Debian: apt-get install python3-venv)"
            echo "$python"
            return
        fi
    done
    [ -n "$found" ] || fail "Python 3.11 or later is needed, and no Python was found"
    fail "Python 3.11 or later is needed, and these are older:$found"
}

# Succeeds if .venv exists, works, and was made for this place.
venv_works() {
    [ "$(cat .venv/made-in 2>/dev/null)" = "$(pwd)" ] && .venv/bin/python -c '' 2>/dev/null
}

# set_up run|dev: makes .venv hold asciid and the client that plays through it,
# for dev also the development tools.  The second time it only compares a stamp.
set_up() {
    stamp=$(cksum setup.py pyproject.toml)
    if venv_works; then
        for installed in "$1" dev; do
            [ "$(cat ".venv/installed-$installed" 2>/dev/null)" != "$stamp" ] || return 0
        done
    else
        python=$(find_python) || exit 1
        echo "$0: making .venv" >&2
        "$python" -m venv --clear .venv || fail "could not make .venv"
        pwd >.venv/made-in
    fi
    case $1 in
        dev) extra=dev ;;
        *) extra=simulate ;;
    esac
    echo "$0: installing into .venv" >&2
    # A plain editable install would hide twisted/plugins from twistd.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --config-settings editable_mode=compat --editable ".[$extra]" ||
        fail "could not install asciid and its dependencies"
    echo "$stamp" >".venv/installed-$1"
}
