"""AWS on this machine: moto, on a port of 127.0.0.1 that it prints.

The Rust SDK speaks RPC v2 CBOR with CloudWatch, which moto does not know. Such calls are read
with botocore's own CBOR parser, held against CloudWatch's limits and botocore's model of the
service, made again as moto understands them, and answered in CBOR.
"""

import gzip
import io
import sys

import boto3
from botocore.exceptions import ClientError, ParamValidationError
from botocore.parsers import RpcV2CBORParser
from botocore.serialize import RpcV2CBORSerializer
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

METHODS = {"PutMetricData": "put_metric_data", "GetMetricData": "get_metric_data"}
MOST_BYTES, MOST_DATA, MOST_VALUES = 1_000_000, 1000, 150


class Cbor:
    def __init__(self, inner):
        self.inner = inner
        self.url = None

    def __call__(self, environ, start_response):
        if environ.get("HTTP_SMITHY_PROTOCOL") != "rpc-v2-cbor":
            return self.inner(environ, start_response)
        return self.answer(Request(environ))(environ, start_response)

    def answer(self, request):
        operation = request.path.rsplit("/", 1)[-1]
        zipped, body = request.headers.get("content-encoding") == "gzip", request.get_data()
        body = gzip.decompress(body) if zipped else body
        credential = request.headers["authorization"].split("Credential=")[1].split("/")
        cloudwatch = boto3.client(
            "cloudwatch", endpoint_url=self.url, region_name=credential[2],
            aws_access_key_id=credential[0], aws_secret_access_key="any",
            config=boto3.session.Config(parameter_validation=True),
        )
        try:
            parameters = decode(body)
            check(operation, parameters, len(body))
            answer = getattr(cloudwatch, METHODS[operation])(**parameters)
        except ParamValidationError as error:
            return refusal("ValidationError", str(error))
        except ClientError as error:
            return refusal(error.response["Error"]["Code"], error.response["Error"]["Message"])
        answer.pop("ResponseMetadata")
        shape = cloudwatch.meta.service_model.operation_model(operation).output_shape
        return reply(200, encode(answer, shape) if shape else b"\xa0")


def decode(body):
    parser = RpcV2CBORParser()
    return parser.parse_data_item(parser.get_peekable_stream_from_bytes(body))


def encode(value, shape):
    encoded = bytearray()
    RpcV2CBORSerializer()._serialize_data_item(encoded, value, shape)
    return bytes(encoded)


def check(operation, parameters, size):
    """What CloudWatch refuses and moto takes."""
    if operation != "PutMetricData":
        return
    data = parameters["MetricData"]
    too_many = any(
        len(datum["Values"]) > MOST_VALUES or len(datum["Values"]) != len(datum["Counts"])
        for datum in data
    )
    if size > MOST_BYTES or len(data) > MOST_DATA or too_many:
        error = {"Code": "InvalidParameterValue", "Message": "beyond CloudWatch's limits"}
        raise ClientError({"Error": error}, operation)


def refusal(code, message):
    # A map of two texts, each longer than 23 and shorter than 65536 bytes or so.
    text = lambda text: b"\x79" + len(text.encode()).to_bytes(2, "big") + text.encode()
    fields = {"__type": "com.amazonaws.cloudwatch#" + code, "message": message[:1000]}
    body = b"\xa2" + b"".join(text(key) + text(value) for key, value in fields.items())
    return reply(400, body)


def reply(status, body):
    headers = {"smithy-protocol": "rpc-v2-cbor"}
    return Response(body, status, headers, content_type="application/cbor")


class Quiet(WSGIRequestHandler):
    def log(self, *_):
        pass


if __name__ == "__main__":
    application = Cbor(DomainDispatcherApplication(create_backend_app))
    server = make_server(
        "127.0.0.1", 0, application, threaded=True, request_handler=Quiet
    )
    application.url = f"http://127.0.0.1:{server.port}"
    print(f"listening {application.url}", flush=True)
    server.serve_forever()
