"""Calls SageMaker's runtime with boto3, as for an endpoint on AWS, and prints as JSON what came of each call.

    sagemaker_runtime.py URL CALLS

CALLS is a JSON list of {"operation", "endpoint", "body", "secret"?, "key"?, "more"?}.
"""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

url, calls = sys.argv[1], json.loads(sys.argv[2])


def client(call):
    return boto3.client(
        "sagemaker-runtime", endpoint_url=url, region_name="eu-central-1",
        aws_access_key_id=call.get("key", "AKIDEXAMPLE"), aws_secret_access_key=call.get("secret", "wJalrXUtnFEMI"),
        config=Config(retries={"total_max_attempts": 1}),
    )


def make(call):
    runtime = client(call)
    answer = getattr(runtime, call["operation"])(
        EndpointName=call["endpoint"], Body=json.dumps(call["body"]), ContentType="application/json",
        **call.get("more", {}),
    )
    seen = {key: value for key, value in answer.items() if isinstance(value, str)}
    seen["status"] = answer["ResponseMetadata"]["HTTPStatusCode"]
    seen["request"] = answer["ResponseMetadata"]["RequestId"]
    if call["operation"] == "invoke_endpoint_async":
        return seen
    body = answer["Body"]
    if call["operation"] == "invoke_endpoint":
        return {**seen, "body": body.read().decode()}
    seen["parts"] = []
    try:
        for event in body:
            seen["parts"].append(event["PayloadPart"]["Bytes"].decode())
    except EventStreamError as error:
        seen["broken"] = error.response["Error"]["Code"]
    return seen


def attempt(call):
    try:
        return make(call)
    except ClientError as error:
        return {
            "exception": type(error).__name__,
            "code": error.response["Error"]["Code"],
            "message": error.response["Error"]["Message"],
            "status": error.response["ResponseMetadata"]["HTTPStatusCode"],
            "original": error.response.get("OriginalStatusCode"),
        }


print(json.dumps([attempt(call) for call in calls]))
