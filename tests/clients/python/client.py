"""A Python client against a running service: python client.py PROTO_DIRECTORY

Reads AUDITLOG_ENDPOINT, AUDITLOG_API_KEY (bound to one organization, scopes read and write) and AUDITLOG_ORGANIZATION
from the environment. Prints a line for each check. The first failed check ends it with exit code 1. Each run uses new
ids, so it can run again.
"""

import os
import sys
import tempfile
import uuid
from importlib.resources import files

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from grpc_tools import protoc

SERVICE = "auditlog.v1.AuditLogService"
ORGANIZATION = os.environ["AUDITLOG_ORGANIZATION"]
KEY = [("authorization", f"Bearer {os.environ['AUDITLOG_API_KEY']}")]
RUN = f"python-{uuid.uuid4().hex}"
MIB = 1024 * 1024


def equal(what, got, wanted):
    if got != wanted:
        sys.exit(f"FAILED {what}: got {got!r}, wanted {wanted!r}")


def ok(check):
    print(f"ok {check}", flush=True)


def call(method, key=KEY, timeout=30, **fields):
    request = getattr(pb2, f"{method}Request")(**{"organization_id": ORGANIZATION, **fields})
    return getattr(service, method)(request, metadata=key, timeout=timeout)


def refused(what, code, reason, method, **fields):
    """Checks that the call fails with this code and reason. Returns the fields that the error names."""
    try:
        call(method, **fields)
    except grpc.RpcError as error:
        equal(f"{what}: code", error.code(), code)
        status, info, bad_request = rpc_status.from_call(error), ErrorInfo(), BadRequest()
        for detail in status.details if status else []:
            # Unpack does nothing if the detail has another type.
            detail.Unpack(info) or detail.Unpack(bad_request)
        equal(f"{what}: reason", (info.domain, info.reason), ("auditlog", reason))
        ok(f"{what} is {code.name} {reason}")
        return [violation.field for violation in bad_request.field_violations]
    sys.exit(f"FAILED {what}: it was answered, wanted {code.name}")


# Generated at run time, so that the stubs match the current protos.
generated = tempfile.TemporaryDirectory()
includes = [f"-I{sys.argv[1]}", f"-I{files('grpc_tools') / '_proto'}"]
outputs = [f"--python_out={generated.name}", f"--grpc_python_out={generated.name}"]
protos = ["auditlog/v1/audit_log.proto", "auditlog/v1/audit_log_service.proto"]
equal("protoc", protoc.main(["protoc", *includes, *outputs, *protos]), 0)
sys.path.insert(0, generated.name)
from auditlog.v1 import audit_log_pb2 as log_pb2  # noqa: E402
from auditlog.v1 import audit_log_service_pb2 as pb2  # noqa: E402
from auditlog.v1 import audit_log_service_pb2_grpc as pb2_grpc  # noqa: E402

ok("stubs")
address = os.environ["AUDITLOG_ENDPOINT"].removeprefix("http://")
channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", 32 * MIB)])
service = pb2_grpc.AuditLogServiceStub(channel)

health = health_pb2_grpc.HealthStub(channel)
for name in ["", SERVICE]:
    answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=30)
    equal(f"health of {name!r}", answer.status, health_pb2.HealthCheckResponse.SERVING)
ok("health")

# The library only supports v1alpha; v1 has the same messages at another path.
reflect = channel.stream_stream(
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
    response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
)
[answer] = reflect(iter([reflection_pb2.ServerReflectionRequest(list_services="*")]), timeout=30)
equal("the service is listed", SERVICE in [listed.name for listed in answer.list_services_response.service], True)
ok("reflection v1")

database = ProtoReflectionDescriptorDatabase(channel)
equal("the service is listed", SERVICE in database.get_services(), True)
pool = descriptor_pool.DescriptorPool(database)
method = pool.FindServiceByName(SERVICE).FindMethodByName("ListAuditLogs")
request_type, response_type = map(message_factory.GetMessageClass, [method.input_type, method.output_type])
path = f"/{SERVICE}/{method.name}"
dynamic = channel.unary_unary(path, request_type.SerializeToString, response_type.FromString)
page = dynamic(request_type(organization_id=ORGANIZATION, limit=1), metadata=KEY, timeout=30)
equal("a page of one by reflection", (page.pagination.limit, len(page.audit_logs) <= 1), (1, True))
ok("reflection v1alpha, and a call built from it")

# 2**53 + 1 is the first integer that a double cannot represent.
change = log_pb2.Change(field="quota", old_value_json="9007199254740993", new_value_json="0.10")
resource = {"resource_type": "assistant", "resource_id": RUN, "action": "updated"}
person = {"user_id": "uid_python", "user_name": "Zoë 🐍"}
rest = {"changes": [change], "metadata": {"source": "python", "empty": ""}}
times = [Timestamp(seconds=1_737_369_000 + number, nanos=123_456_000) for number in range(3)]
entries = [
    log_pb2.AuditLogInput(id=f"{RUN}-{number}", timestamp=time, **resource, **person, **rest)
    for number, time in enumerate(times)
]
first = call("WriteAuditLogs", audit_logs=entries).audit_logs
equal("written", [(log.id, log.replayed) for log in first], [(entry.id, False) for entry in entries])
ok("write")

again = call("WriteAuditLogs", audit_logs=entries).audit_logs
equal("replayed", [log.replayed for log in again], [True] * 3)
equal("as stored", [(l.sequence, l.recorded_at) for l in again], [(l.sequence, l.recorded_at) for l in first])
ok("the same write again is replayed")

other = log_pb2.AuditLogInput(id=entries[0].id, timestamp=times[0], **resource, **person)
refused("other content", grpc.StatusCode.ALREADY_EXISTS, "ID_CONFLICT", "WriteAuditLogs", audit_logs=[other])

own = log_pb2.AuditLogFilter(resource_ids=[RUN])
pages = [call("ListAuditLogs", filter=own, limit=2)]
while pages[-1].pagination.has_more:
    pages.append(call("ListAuditLogs", filter=own, limit=2, cursor=pages[-1].pagination.next_cursor))
newest_first = [entry.id for entry in reversed(entries)]
equal("each entry once", [log.id for page in pages for log in page.audit_logs], newest_first)
equal("totals", [page.pagination.total for page in pages], [3, 3])
ok("list by cursor")

page = call("GetResourceHistory", resource_type="assistant", resource_id=RUN, organization_id="")
equal("history", ([log.id for log in page.audit_logs], page.pagination.total), (newest_first, 3))
ok("history, of the key's own organization")

log = call("GetAuditLog", id=entries[0].id).audit_log
for field in ["id", "timestamp", *resource, *person, *rest]:
    equal(f"the entry's {field}", getattr(log, field), getattr(entries[0], field))
equal("what the entry leaves out", (log.HasField("resource_name"), log.HasField("user_email")), (False, False))
equal("its number and time", (log.sequence, log.recorded_at), (first[0].sequence, first[0].recorded_at))
ok("get, each value exact")

# 20 entries of 250 KiB, in two requests because of the limit of 4 MiB. A page of them exceeds gRPC's default of 4 MiB.
text = log_pb2.Change(field="text", new_value_json=f'"{"x" * 250 * 1024}"')
large = {"resource_type": "thread", "resource_id": f"{RUN}-large", "action": "updated"}
for half in range(2):
    ids = [f"{RUN}-large-{half}-{number}" for number in range(10)]
    call("WriteAuditLogs", audit_logs=[{"id": id, **large, **person, "changes": [text]} for id in ids])
of_large = log_pb2.AuditLogFilter(resource_ids=[large["resource_id"]])
page = call("ListAuditLogs", filter=of_large)
equal("a page beyond 4 MiB", (len(page.audit_logs), page.ByteSize() > 4 * MIB), (20, True))
ok("an answer beyond 4 MiB, with the limit raised")

pieces = list(call("ExportAuditLogs"))
head = pieces[-1].head_sequence
equal("each entry once, ascending", [log.sequence for p in pieces for log in p.audit_logs], list(range(1, head + 1)))
equal("the end, in each piece", {piece.head_sequence for piece in pieces}, {head})
equal("the last piece's end", (pieces[-1].sequence, len(pieces) > 1), (head, True))
goes_on = call("ExportAuditLogs", after_sequence=pieces[0].sequence, through_sequence=head)
remaining = [log.sequence for p in goes_on for log in p.audit_logs]
equal("an export that goes on", remaining, list(range(pieces[0].sequence + 1, head + 1)))
ok(f"export of {head} entries, and one that goes on after its first piece")

code, method = grpc.StatusCode, "ListAuditLogs"
refused("no key", code.UNAUTHENTICATED, "MISSING_AUTHENTICATION", method, key=[])
refused("another organization", code.NOT_FOUND, "ORGANIZATION_NOT_FOUND", method, organization_id=f"{ORGANIZATION}-2")
equal("the bad field", refused("limit 0", code.INVALID_ARGUMENT, "INVALID_PARAMETER", method, limit=0), ["limit"])

# A page of 5 MiB takes longer than 1 ms on any machine. Client or server may notice first.
try:
    call(method, filter=of_large, timeout=0.001)
    sys.exit("FAILED deadline: 5 MiB were answered within 1 ms")
except grpc.RpcError as error:
    equal("deadline", error.code(), code.DEADLINE_EXCEEDED)
ok("a deadline of 1 ms is DEADLINE_EXCEEDED")
