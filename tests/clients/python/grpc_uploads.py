"""Calls WriteAuditLogs repeatedly with the same message on one channel: python3 grpc_uploads.py TARGET KEY FILE TIMES

TARGET is host:port. GRPC_CERTIFICATE names the certificate to trust; without it, there is no TLS. Prints how often each
answer came, as JSON: its status and the reason in its details, or a description of the failure.
"""

import collections
import json
import os
import sys

import grpc
from google.rpc import error_details_pb2, status_pb2

target, key, file, times = sys.argv[1:]
with open(file, "rb") as opened:
    message = opened.read()[5:]  # without the length prefix, which grpc adds
# Retries would hide lost answers.
options = [("grpc.enable_retries", 0), ("grpc.max_send_message_length", 64 << 20)]
certificate = os.environ.get("GRPC_CERTIFICATE")
if certificate:
    with open(certificate, "rb") as opened:
        channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(opened.read()), options)
else:
    channel = grpc.insecure_channel(target, options)
write = channel.unary_unary("/auditlog.v1.AuditLogService/WriteAuditLogs")


def describe(error):
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    name = "".join(word.capitalize() for word in error.code().name.split("_"))
    if details is None:
        return f"{name} without details: {error.details()}"
    for detail in status_pb2.Status.FromString(details).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return f"{name} {info.reason}"
    return f"{name} without a reason"


answers = collections.Counter()
for _ in range(int(times)):
    try:
        write(message, metadata=[("authorization", f"Bearer {key}")], timeout=60)
        answers["Ok"] += 1
    except grpc.RpcError as error:
        answers[describe(error)] += 1
print(json.dumps(answers))
