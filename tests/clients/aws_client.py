"""Calls AWS with boto3 and prints the answer as JSON.

    aws_client.py URL SERVICE OPERATION '{"Parameter": ...}'
"""

import json
import sys
import urllib.request

import boto3

url, service, operation, parameters = sys.argv[1:]
if service == "moto":  # not AWS, but its stand-in
    headers = {"content-type": "text/plain"}
    request = urllib.request.Request(
        f"{url}/moto-api/{operation}", data=parameters.encode(), headers=headers
    )
    urllib.request.urlopen(request).read()
    print("{}")
    sys.exit()
client = boto3.client(
    service, endpoint_url=url, region_name="eu-central-1",
    aws_access_key_id="test", aws_secret_access_key="test",
)
answer = getattr(client, operation)(**json.loads(parameters)) or {}
answer.pop("ResponseMetadata", None)
print(json.dumps(answer, default=str))
