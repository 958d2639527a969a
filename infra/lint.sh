#!/bin/sh
# Lints the templates and every environment of samconfig.toml. Needs cfn-lint and the SAM CLI.
set -eu
cd "$(dirname "$0")/.."

cfn-lint # what and how is in .cfnlintrc.yaml

for environment in default emulator prod; do
    sam validate --lint --config-env "$environment" --region us-east-1
done

# A cached build misses changes outside the function's own directory.
if grep -nE '^[[:space:]]*cached[[:space:]]*=' samconfig.toml; then
    echo 'samconfig.toml sets cached: stale binaries in a workspace' >&2
    exit 1
fi
