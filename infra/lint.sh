#!/bin/sh
# Lints the templates and every environment of samconfig.toml, here or in the folder of another
# application. Needs the linters and the SAM CLI, as `cargo run -- tools --linters` installs them,
# and no network.
set -eu
application=$(cd "${1:-$(dirname "$0")/..}" && pwd)
cd "$(dirname "$0")/.."
rules=$PWD
export SAM_CLI_TELEMETRY=0

# What and how is in .cfnlintrc.yaml. The rules for serverless applications are named here, for the
# SAM CLI reads that file too, and does not have them.
cfn-lint --append-rules cfn_lint_serverless.rules \
    --template "$application/template.yaml" "$application"/infra/*.yaml

cd "$application"
# What and how is in .checkov.yaml. It puts the paths of nested templates into what refers to them, and
# takes a path of 40 letters for a secret: relative ones are short.
checkov --config-file "$rules/.checkov.yaml" --file template.yaml infra/*.yaml

for environment in default emulator prod; do
    sam validate --lint --config-env "$environment" --region us-east-1
done

# A cached build misses changes outside the function's own directory.
if grep -nE '^[[:space:]]*cached[[:space:]]*=' samconfig.toml; then
    echo 'samconfig.toml sets cached: stale binaries in a workspace' >&2
    exit 1
fi
