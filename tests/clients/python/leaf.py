"""The leaf format in Python, written only from docs/LEAF_FORMAT.md: python leaf.py < ENTRIES

Reads one entry per line, in the form of tests/vectors/leaf.json. Prints a line of JSON for each: its group hashes, its
leaf data and its leaf hash. For a record that keys have signed, also the signed text and the `verifierKeys` that signed
it. openssl checks Ed25519. Fails if an entry with an id of the service has not the shape of its kind.
"""

import base64
import hashlib
import json
import re
import struct
import sys

import proof

GROUPS = ["facts", "actor", "content"]


def exact(time):
    """Adds the six fractional digits that the service omits when they are zero (RFC 3339, UTC)."""
    return time if "." in time else time.replace("Z", ".000000Z")


def facts(entry):
    yield "timestamp", exact(entry["timestamp"])
    for name in ["resourceType", "resourceId", "action", "userId"]:
        yield name, entry[name]
    # Null counts as absent, and older vectors leave fields out.
    for name in ["traceId", "outcome", "actorType"]:
        yield name, entry.get(name)


def actor(entry):
    yield "userName", entry["userName"]
    yield "userEmail", entry["userEmail"]
    for key in sorted(entry["metadata"], key=str.encode):
        yield f"metadata.{key}", entry["metadata"][key]


def content(entry):
    yield "resourceName", entry["resourceName"]
    for number, change in enumerate(entry["changes"]):
        yield f"changes.{number}.field", change["field"]
        yield f"changes.{number}.oldValue", change["oldValueJson"]
        yield f"changes.{number}.newValue", change["newValueJson"]


def group_hash(group, salt, fields):
    parts = [b"auditlog/group/v1\0", group.encode(), b"\0", salt]
    for name, value in fields:
        if value is not None:
            for text in [name.encode(), value.encode()]:
                parts += [struct.pack(">I", len(text)), text]
    return base64.b64encode(hashlib.sha256(b"".join(parts)).digest()).decode()


def groups(entry):
    """The group hashes: computed from the values, or for erased groups as the service keeps them."""
    for group, fields in zip(GROUPS, [facts, actor, content]):
        if group in entry["erased"]:
            yield entry["erased"][group]
        else:
            yield group_hash(group, bytes.fromhex(entry["salts"][group]), fields(entry))


TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


def text(pattern=".+"):
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value, re.DOTALL) is not None


def texts(value):
    return isinstance(value, list) and all(map(text(), value))


def or_null(form):
    return lambda value: value is None or form(value)


HEAD = or_null(text(r"(0|[1-9]\d*) [A-Za-z0-9+/]{43}="))
KEY = {
    "id": text("[A-Za-z0-9]{1,64}"),
    "name": text(),
    "scopes": texts,
    "organization": or_null(text()),
    "expiresAt": or_null(text(TIME)),
}
NAME = {"kind": text("resource_type|action"), "name": text(), "history": or_null(text())}
ROLLBACK = {
    "organization": or_null(text()),
    "log": text("[0-9a-f]{32}"),
    "findings": texts,
    "stateFile": HEAD,
    "checkpoint": HEAD,
    "head": HEAD,
}
# The facts of each kind of record of administration, in order. Only the name of a key may be missing.
ADMINISTRATION = {
    "key-created": KEY,
    "key-revoked": KEY,
    "catalogue-added": NAME,
    "catalogue-removed": NAME,
    "rollback-acknowledged": ROLLBACK,
}


def check_service_entry(entry):
    """Checks what all entries of the service have, and the facts of a record of administration."""
    _, kind, _ = entry["id"].split(":")
    assert entry["writer"] == "-" and (entry["resourceType"], entry["action"]) == ("organization", "updated")
    assert entry["timestamp"] == entry["recordedAt"]
    assert re.fullmatch("system|key:[A-Za-z0-9]{1,64}", entry["userId"])
    others = ["resourceName", "userName", "userEmail", "metadata", "traceId", "outcome", "actorType", "erased"]
    assert not any(entry.get(name) for name in others)
    assert all(change["oldValueJson"] == "null" for change in entry["changes"])
    if kind in ("erasure", "rotation"):
        return
    assert entry["resourceId"] == "auditlog:service"
    facts = ADMINISTRATION[kind]
    fields = [change["field"] for change in entry["changes"]]
    due = [field for field in facts if field in fields or not (facts is KEY and field == "name")]
    assert fields == due, fields
    for change in entry["changes"]:
        assert facts[change["field"]](json.loads(change["newValueJson"])), change


def leaf(entry):
    if entry["id"].startswith("auditlog:"):
        check_service_entry(entry)
    lines = [
        "auditlog/entry/v1",
        f"log {entry['logId']}",
        f"seq {entry['sequence']}",
        f"id {entry['id']}",
        f"recorded {exact(entry['recordedAt'])}",
        f"writer {entry['writer']}",
    ]
    hashes = list(groups(entry))
    lines += [f"{group} {hash}" for group, hash in zip(GROUPS, hashes)]
    data = "".join(f"{line}\n" for line in lines)
    hash = hashlib.sha256(b"\0" + data.encode()).digest()
    return {"groups": hashes, "leafData": data, "leafHash": base64.b64encode(hash).decode(), **signatures(entry)}


def signatures(entry):
    """The signed text and the keys that signed it; nothing for an entry without signatures."""
    if not entry["id"].startswith("auditlog:"):
        return {}
    new = {change["field"]: json.loads(change["newValueJson"]) for change in entry["changes"]}
    if "signatures" not in new:
        return {}
    kind = entry["id"].split(":")[1]
    lines = [f"auditlog/{kind}/v1"]
    if kind == "rotation":
        lines += [new["verifierKey"]]
    else:
        reason, *erased, _ = entry["changes"]
        lines += [entry["origin"], entry["id"], entry["userId"], reason["newValueJson"]]
        lines += [f"{change['field']} {new[change['field']]}" for change in erased]
    text = "".join(f"{line}\n" for line in lines)
    signed_by = [key for key in entry["verifierKeys"] if is_signed(text, new["signatures"], key)]
    return {"signedText": text, "signedBy": signed_by}


def is_signed(text, lines, verifier):
    name, key_id, key = verifier.split("+", 2)
    for line in lines.splitlines():
        _, signer, signature = line.split(" ")
        signature = base64.b64decode(signature)
        if (signer, signature[:4].hex()) == (name, key_id):
            return proof.signed(base64.b64decode(key)[1:], text.encode(), signature[4:])
    return False


if __name__ == "__main__":
    for line in sys.stdin.buffer:
        print(json.dumps(leaf(json.loads(line))))
