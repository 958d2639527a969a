"""Runs `sam deploy` with these arguments up to its change set, and shows what that does in nested stacks as well.

The SAM CLI makes change sets without those of nested stacks, in which a table that is replaced is a stack that is
modified.
"""

import sys

from samcli.cli.main import cli
from samcli.lib.deploy.deployer import Deployer

create = Deployer.create_and_wait_for_changeset


def create_with_nested(self, *values, **named):
    def with_nested(params, **_):
        return {**params, "IncludeNestedStacks": True}

    self._client.meta.events.register("provide-client-params.cloudformation.CreateChangeSet", with_nested)
    result = create(self, *values, **named)
    change_set = result[0]["Id"]
    print("\nAll changes, those of nested stacks included:\n")
    show(self._client, change_set, "")
    print(f"\nTo execute them:\naws cloudformation execute-change-set --region {self._client.meta.region_name} --change-set-name {change_set}")
    return result


def show(cloudformation, change_set, path):
    pages = cloudformation.get_paginator("describe_change_set").paginate(ChangeSetName=change_set)
    for page in pages:
        for change in page["Changes"]:
            resource = change["ResourceChange"]
            name = path + resource["LogicalResourceId"]
            replacement = {"True": "  REPLACED", "Conditional": "  may be REPLACED"}.get(resource.get("Replacement"), "")
            print(f"{resource['Action']:<8}{name}  {resource['ResourceType']}{replacement}")
            if resource.get("ChangeSetId"):
                show(cloudformation, resource["ChangeSetId"], name + "/")


Deployer.create_and_wait_for_changeset = create_with_nested
# The last one counts, whatever else was asked for.
cli(["deploy", *sys.argv[1:], "--no-execute-changeset"], prog_name="sam")
