"""Invokes endpoints asynchronously with boto3 and reads the answers from S3, as for an endpoint on AWS.

    sagemaker_async.py URL S3_URL CALLS

CALLS is a JSON list of {"endpoint", "body"?, "more"?}. Prints what came of each call as a line of JSON; then, once
each that was accepted has an object at one of its two locations, a line with what is there.
"""

import json
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

url, s3_url, calls = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
keys = {"region_name": "eu-central-1", "config": Config(retries={"total_max_attempts": 1})}
runtime = boto3.client(
    "sagemaker-runtime", endpoint_url=url,
    aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="wJalrXUtnFEMI", **keys,
)
s3 = boto3.client(
    "s3", endpoint_url=s3_url, aws_access_key_id="test", aws_secret_access_key="test", **keys,
)


def begin(call):
    body = {"Body": json.dumps(call["body"])} if "body" in call else {}
    try:
        answer = runtime.invoke_endpoint_async(
            EndpointName=call["endpoint"], ContentType="application/json", **body, **call.get("more", {})
        )
    except ClientError as error:
        return {"exception": type(error).__name__, "message": error.response["Error"]["Message"]}
    status = answer.pop("ResponseMetadata")["HTTPStatusCode"]
    return {**answer, "status": status}


def read(location):
    bucket, key = location.removeprefix("s3://").split("/", 1)
    try:
        return json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except s3.exceptions.NoSuchKey:
        return None


def end(begun):
    while "OutputLocation" in begun:
        answer = {
            "output": read(begun["OutputLocation"]), "failure": read(begun["FailureLocation"])
        }
        if answer["output"] or answer["failure"]:
            return answer
        time.sleep(0.2)


begun = [begin(call) for call in calls]
print(json.dumps(begun), flush=True)
print(json.dumps([end(one) for one in begun]), flush=True)
