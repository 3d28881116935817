"""A stand-in for the AWS provider, for plans without an account.

It speaks Terraform's plugin protocol, takes its schema from aws-provider-schema.json, and answers
every attribute that is not set as known after apply. An apply makes values up and keeps them in
Terraform's state alone. It knows nothing of AWS but the tables below.
"""

import json
import os
import sys
import tempfile
import threading
from concurrent import futures
from pathlib import Path

import grpc
import grpc_tools.protoc
import msgpack

HERE = Path(__file__).resolve().parent
SCHEMA = json.loads((HERE / "aws-provider-schema.json").read_text())

# The schema file lists arguments; these are the attributes that the provider adds and the module reads.
COMPUTED = {
    "data.aws_availability_zones": {"names": ["list", "string"]},
    "data.aws_caller_identity": {"account_id": "string"},
    "data.aws_iam_policy_document": {"json": "string"},
    "data.aws_partition": {"partition": "string"},
    "data.aws_ssm_parameter": {"value": "string"},
    "resource.aws_cloudwatch_log_group": {"arn": "string"},
    "resource.aws_dynamodb_table": {"arn": "string"},
    "resource.aws_ecr_repository": {"repository_url": "string"},
    "resource.aws_iam_role": {"arn": "string"},
    "resource.aws_kms_key": {"arn": "string", "key_id": "string"},
    "resource.aws_launch_template": {"latest_version": "number"},
    "resource.aws_lb": {"arn": "string", "dns_name": "string", "zone_id": "string"},
    "resource.aws_lb_target_group": {"arn": "string"},
    "resource.aws_route53_zone": {"zone_id": "string"},
    "resource.aws_s3_bucket": {"arn": "string"},
    "resource.aws_secretsmanager_secret": {"arn": "string"},
    "resource.aws_sns_topic": {"arn": "string"},
}

# What a change of the argument replaces, from the provider's documentation ("Forces new resource").
REPLACES = {
    "aws_autoscaling_group": ["name", "initial_lifecycle_hook", "placement_group"],
    "aws_autoscaling_lifecycle_hook": ["name", "autoscaling_group_name"],
    "aws_launch_template": ["name"],
    "aws_instance": ["ami", "private_ip", "subnet_id", "user_data_base64"],
    "aws_vpc": ["cidr_block"],
    "aws_subnet": ["cidr_block", "availability_zone", "vpc_id"],
    "aws_security_group": ["name", "description", "vpc_id"],
}

# What the data sources find.
FOUND = {
    "aws_region": {"region": "eu-central-1", "name": "eu-central-1"},
    "aws_partition": {"partition": "aws"},
    "aws_caller_identity": {"account_id": "123456789012"},
    "aws_availability_zones": {"names": ["eu-central-1a", "eu-central-1b", "eu-central-1c", "eu-central-1d"]},
    "aws_ssm_parameter": {"value": "ami-0123456789abcdef0"},
    "aws_vpc": {"cidr_block": "10.9.0.0/16"},
    "aws_iam_policy_document": {"json": "{}"},
}

TYPES = {
    "string": "string", "number": "number", "union": "bool",
    "collection:array": ["list", "string"], "collection:map": ["map", "string"],
}

UNKNOWN = msgpack.ExtType(0, b"\0")


def compiled():
    """The messages and the service of plugin.proto."""
    with tempfile.TemporaryDirectory() as made:
        arguments = ["protoc", f"-I{HERE}", f"--python_out={made}", f"--grpc_python_out={made}", "plugin.proto"]
        if grpc_tools.protoc.main(arguments) != 0:
            raise RuntimeError("plugin.proto does not compile")
        sys.path.insert(0, made)
        import plugin_pb2
        import plugin_pb2_grpc
        sys.path.remove(made)
    return plugin_pb2, plugin_pb2_grpc


pb, service = compiled()


def block(arguments, computed=None):
    """The schema of a resource, or of a nested block, whose attributes AWS does not set."""
    message = pb.Schema.Block()
    given = {name: TYPES[entry["type"]] for name, entry in arguments.items() if "block" not in entry}
    for name, kind in sorted((given | (computed or {})).items()):
        required = arguments.get(name, {}).get("required", False)
        write_only = name.endswith("_wo")
        message.attributes.add(
            name=name, type=json.dumps(kind).encode(), required=required, optional=not required and name in given,
            computed=computed is not None and not required and not write_only, write_only=write_only,
        )
    for name, entry in sorted(arguments.items()):
        if "block" in entry:
            nested = message.block_types.add(type_name=name, nesting=pb.Schema.NestedBlock.LIST)
            nested.block.CopyFrom(block(entry["block"]))
            nested.max_items = 0 if entry["list"] else 1
    return message


def schemas(kind):
    named = {key: arguments for key, arguments in SCHEMA.items() if key.startswith(f"{kind}.")}
    return {
        key.removeprefix(f"{kind}."): pb.Schema(block=block(arguments, COMPUTED.get(key, {})))
        for key, arguments in named.items()
    }


def read(value):
    """A dynamic value as Python has it; unknown stays msgpack's extension type."""
    return msgpack.unpackb(value.msgpack, ext_hook=msgpack.ExtType) if value.msgpack else json.loads(value.json or b"null")


def written(value):
    return pb.DynamicValue(msgpack=msgpack.packb(value))


def computed(type_name):
    """Name to type of the attributes that AWS sets where the configuration does not."""
    schema = block(SCHEMA[f"resource.{type_name}"], COMPUTED.get(f"resource.{type_name}", {}))
    return {one.name: json.loads(one.type) for one in schema.attributes if one.computed}


def made_up(type_name, name, kind):
    """What an apply finds for an attribute."""
    texts = {
        "arn": f"arn:aws:stand-in:eu-central-1:123456789012:{type_name}",
        "repository_url": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/stand-in",
    }
    if kind == "string":
        return texts.get(name, f"{type_name}-{name}")
    if isinstance(kind, list):
        return {} if kind[0] == "map" else []
    return {"number": 1, "bool": False}[kind]


class Provider(service.ProviderServicer):
    def GetSchema(self, request, context):
        provider = pb.Schema.Block()
        provider.attributes.add(name="region", type=b'"string"', optional=True)
        return pb.Schemas(
            provider=pb.Schema(block=provider),
            resource_schemas=schemas("resource"), data_source_schemas=schemas("data"),
        )

    def PrepareProviderConfig(self, request, context):
        return pb.PrepareResponse(prepared_config=request.config)

    def ValidateResourceTypeConfig(self, request, context):
        return pb.Diagnostics()

    ValidateDataSourceConfig = Configure = ValidateResourceTypeConfig

    def UpgradeResourceState(self, request, context):
        return pb.UpgradeResponse(upgraded_state=written(json.loads(request.raw_state.json)))

    def ReadResource(self, request, context):
        return pb.ReadResourceResponse(new_state=request.current_state)

    def PlanResourceChange(self, request, context):
        before, after = read(request.prior_state), read(request.proposed_new_state)
        answer = pb.PlanResponse(legacy_type_system=True)
        if after is not None:
            # What is write-only comes back from nobody.
            after |= {name: None for name in after if name.endswith("_wo")}
        if after is not None and before is None:
            after |= {name: UNKNOWN for name in computed(request.type_name) if after[name] is None}
        if after is not None and before is not None:
            for name in REPLACES.get(request.type_name, []):
                if before[name] != after[name]:
                    answer.requires_replace.add().steps.add(attribute_name=name)
        answer.planned_state.CopyFrom(written(after))
        return answer

    def ApplyResourceChange(self, request, context):
        after = read(request.planned_state)
        if after is not None:
            kinds = computed(request.type_name)
            after = {name: made_up(request.type_name, name, kinds[name]) if value == UNKNOWN else value
                     for name, value in after.items()}
        return pb.ApplyResponse(new_state=written(after), legacy_type_system=True)

    def ReadDataSource(self, request, context):
        config = read(request.config)
        found = FOUND[request.type_name]
        state = {name: found.get(name) if value is None else value for name, value in config.items()}
        return pb.ReadDataResponse(state=written(state))

    def Stop(self, request, context):
        return pb.StopResponse()


class Serving:
    """The stand-in on a free port of the loopback, and the variable by which Terraform finds it."""

    def __enter__(self):
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
        service.add_ProviderServicer_to_server(Provider(), self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        reattach = {"hashicorp/aws": {
            "Protocol": "grpc", "ProtocolVersion": 5, "Pid": os.getpid(), "Test": True,
            "Addr": {"Network": "tcp", "String": f"127.0.0.1:{port}"},
        }}
        self.environment = {"TF_REATTACH_PROVIDERS": json.dumps(reattach)}
        return self

    def __exit__(self, *_):
        self.server.stop(None)
