#!/bin/sh
# Make a virtual environment and install emokit from this checkout into it.
#   make_venv.sh PYTHON VENV WHAT        (WHAT: "." or ".[dev]")
set -eu
python=$1 venv=$2 what=$3

supported() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# "python3" may be an old one while a newer one stands beside it.
if ! supported "$python"; then
    for other in python3.13 python3.12 python3.11; do
        if supported "$other"; then
            python=$other
            break
        fi
    done
fi
if ! supported "$python"; then
    found=$("$python" --version 2>&1 || echo "no Python at all")
    echo "emokit needs Python 3.11 or newer; found: $found." >&2
    echo "Install one, or name it: make demo PYTHON=/path/to/python3.12" >&2
    exit 1
fi
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --clear "$venv" || {
        echo "The environment $venv could not be made; on Debian: apt install python3-venv" >&2
        exit 1
    }
fi
echo "Installing emokit and what it needs into $venv; the first time takes some minutes."
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    -c constraints.txt -e "$what"
