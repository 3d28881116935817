"""Calls AWS with boto3 and prints the answer as JSON.

    aws_client.py URL SERVICE OPERATION '{"Parameter": ...}'
"""

import json
import sys

import boto3

url, service, operation, parameters = sys.argv[1:]
client = boto3.client(
    service, endpoint_url=url, region_name="eu-central-1",
    aws_access_key_id="test", aws_secret_access_key="test",
)
answer = getattr(client, operation)(**json.loads(parameters))
answer.pop("ResponseMetadata", None)
print(json.dumps(answer, default=str))
