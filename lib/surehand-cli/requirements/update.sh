#!/bin/sh
# Writes what each list X.in comes to into X.txt: every distribution that is installed for it, also by way of
# others, with the hashes of its files. pip then takes no other file.
#
#     lib/surehand-cli/requirements/update.sh              # after a change of a list
#     lib/surehand-cli/requirements/update.sh --upgrade    # to take newer releases, about once a month
#
# Versions that still fit are kept without --upgrade. Look at what changed, then run the tests: the command
# installs the new lists by itself.
set -eu
cd "$(dirname "$0")"

tools=$(cd ../../.. && pwd)/.surehand/venv-update
if ! "$tools/bin/uv" --version >/dev/null 2>&1; then
    python3 -m venv --clear "$tools"
    "$tools/bin/python" -m pip install --quiet --require-hashes --only-binary :all: --requirement update.txt
fi

# compile X OPTION…: for each platform and each Python that the command supports.
compile() {
    list=$1
    shift
    "$tools/bin/uv" pip compile --quiet --universal --python-version 3.10 --generate-hashes \
        --no-emit-index-url --no-annotate --no-header --output-file "$list.txt" "$@" "$list.in"
}

compile update --only-binary :all: "$@"
compile local --only-binary :all: "$@"
# These are installed beside what is local, so that they cannot have other versions.
compile build --only-binary :all: --constraint local.txt "$@"
compile tests --only-binary :all: --constraint local.txt "$@"
compile linters --only-binary :all: "$@"
# Two of its distributions have no wheel. Its list is for the tests alone.
compile sqs "$@"
