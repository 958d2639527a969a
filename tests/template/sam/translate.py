"""Prints the logical ids of the versions that SAM makes of the functions in built templates: one line for each template."""

import json
import logging
import sys

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform


# It says a lot of features that this needs none of.
logging.disable(logging.ERROR)


class Policies:
    def load(self):
        return {}


for file in sys.argv[1:]:
    with open(file, encoding="utf-8") as text:
        template = yaml_parse(text.read())
    for name, resource in template["Resources"].items():
        # `sam deploy` uploads the code, and names what it has uploaded by its hash.
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = f"s3://bucket/{name}"
    resources = transform(template, {}, Policies())["Resources"]
    versions = {
        resource["Properties"]["FunctionName"]["Ref"]: name
        for name, resource in resources.items()
        if resource["Type"] == "AWS::Lambda::Version"
    }
    print(json.dumps(versions))
