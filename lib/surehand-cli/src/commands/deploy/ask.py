"""Says what `sam deploy` would deploy with these arguments, and to where, without doing it.

The SAM CLI reads the arguments, samconfig.toml and its own variables, so that there is no second reader of them that
could come to something else. The answer goes to the file that is the first argument.

A parameter that is not given keeps its value in an existing stack, which is read from the stack as the SAM CLI finds it.
"""

import inspect
import json
import os
import sys

import boto3
import click
from samcli.cli.main import cli
from samcli.commands.deploy import command
from samcli.lib.deploy.deployer import Deployer

deploy = inspect.signature(command.do_cli)


def ask(*values, **named):
    given = deploy.bind(*values, **named).arguments
    if given["guided"]:
        raise click.UsageError("`surehand deploy` asks no questions: run `sam deploy --guided` once, and save its answers")
    name = given["stack_name"]
    if not name:
        raise click.UsageError("no stack is named: give --stack-name, or set stack_name in samconfig.toml")
    # The SAM CLI has made the session of the profile and the region by now.
    cloudformation = boto3.client("cloudformation", region_name=given["region"] or None)
    previous, attempt = {}, ""
    if Deployer(cloudformation).has_stack(name):
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        previous = {it["ParameterKey"]: it.get("ParameterValue", "") for it in stack.get("Parameters", [])}
        # Lambda keeps the versions of a deployment that was rolled back, and would not publish them again.
        if "ROLLBACK" in stack["StackStatus"]:
            attempt = str(stack.get("LastUpdatedTime", ""))
    answer = {
        "stack": name,
        "region": cloudformation.meta.region_name,
        "template": str(given["template_file"]),
        "given": given["parameter_overrides"] or {},
        "previous": previous,
        "attempt": attempt,
    }
    # It may have values of parameters that nobody is to see.
    file = os.open(answer_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(file, "w", encoding="utf-8") as file:
        json.dump(answer, file)


answer_file = sys.argv[1]
command.do_cli = ask
cli(["deploy", *sys.argv[2:]], prog_name="sam")
