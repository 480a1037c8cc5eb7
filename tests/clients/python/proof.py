"""Verifies proof files (C2SP tlog-proof) with the standard library: python proof.py VERIFIER_KEY FILE …

Written only from docs/LEAF_FORMAT.md and docs/verifying.md. openssl checks Ed25519, which Python lacks.
"""

import base64
import datetime
import hashlib
import json
import re
import struct
import subprocess
import sys
import tempfile

GROUPS = ["facts", "actor", "content"]
STRING = r'"([^"\\]|\\.)*"'
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


def unbase64(text):
    data = base64.b64decode(text, validate=True)
    assert base64.b64encode(data).decode() == text, "base64 has one spelling"
    return data


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def unique(pairs):
    assert len(dict(pairs)) == len(pairs), "no key twice"
    return dict(pairs)


def signed(key, text, signature):
    with tempfile.NamedTemporaryFile() as public, tempfile.NamedTemporaryFile() as made, tempfile.NamedTemporaryFile() as data:
        # The DER prefix of an Ed25519 public key.
        for file, content in [(public, bytes.fromhex("302a300506032b6570032100") + key), (made, signature), (data, text)]:
            file.write(content)
            file.flush()
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", public.name, "-rawin"]
        return subprocess.run(command + ["-in", data.name, "-sigfile", made.name], capture_output=True).returncode == 0


def checkpoint(note, verifier):
    """The size and the root that the key has signed for its own log."""
    name, key_id, key = verifier.split("+", 2)
    key = unbase64(key)
    assert key[0] == 1 and sha256(name.encode(), b"\n", key)[:4].hex() == key_id
    text, _, signatures = note.rpartition("\n\n")
    assert text and signatures.endswith("\n") and not any(letter < " " and letter != "\n" for letter in note)
    text += "\n"
    found = False
    for line in signatures[:-1].split("\n"):
        mark, signer, signature = line.split(" ")
        signature = unbase64(signature)
        assert mark == "—" and signer and "+" not in signer and len(signature) > 4
        if not found and signer == name and signature[:4].hex() == key_id:
            assert signed(key[1:], text.encode(), signature[4:]), "the signature"
            found = True
    assert found, "signed by the key"
    origin, size, root = text[:-1].split("\n")
    assert origin == name and str(int(size)) == size and len(unbase64(root)) == 32
    return origin, int(size), unbase64(root)


def root_of(leaf, index, size, hashes):
    """RFC 9162, section 2.1.3.2."""
    assert index < size
    last, node = size - 1, leaf
    for hash in hashes:
        assert last > 0, "no hash too many"
        if index % 2 == 1 or index == last:
            node = sha256(b"\1", hash, node)
            while index % 2 == 0 and index > 0:
                index, last = index >> 1, last >> 1
        else:
            node = sha256(b"\1", node, hash)
        index, last = index >> 1, last >> 1
    assert last == 0, "no hash too few"
    return node


def refused(name):
    raise AssertionError(f"{name} is no JSON")


def nesting(text):
    """The deepest nesting of arrays and objects in valid JSON."""
    deepest = now = 0
    for bracket in re.findall(r"[\[{}\]]", re.sub(STRING, '""', text)):
        now += 1 if bracket in "[{" else -1
        deepest = max(deepest, now)
    return deepest


def check_fields(group, fields):
    """Checks that these are the fields of the group, each once and in order."""
    names = [name for name, value in fields]
    always = ["timestamp", "resourceType", "resourceId", "action", "userId"] if group == "facts" else []
    optional = {
        "facts": ["traceId", "outcome", "actorType"],
        "actor": ["userName", "userEmail"],
        "content": ["resourceName"],
    }[group]
    assert names[: len(always)] == always, "the facts that are always there"
    assert all(value for name, value in fields[: len(always)]), "no fact is empty"
    rest = fields[len(always) :]
    for name in optional:
        if rest and rest[0][0] == name:
            assert rest[0][1], "empty is absent"
            rest = rest[1:]
    rest = [name for name, value in rest]
    if group == "facts":
        assert not rest, "no other facts"
        assert datetime.datetime.strptime(fields[0][1], TIME).strftime(TIME) == fields[0][1], "a time in microseconds"
    elif group == "actor":
        assert all(name.startswith("metadata.") for name in rest)
        keys = [name.encode() for name in rest]
        assert all(one < other for one, other in zip(keys, keys[1:])), "metadata by its keys"
    else:
        assert len(rest) % 3 == 0
        parts = ["field", "oldValue", "newValue"]
        assert rest == [f"changes.{place // 3}.{parts[place % 3]}" for place in range(len(rest))], "changes in order"
        for text in [value for name, value in fields if name.endswith(("oldValue", "newValue"))]:
            json.loads(text, parse_constant=refused)
            assert nesting(text) <= 32
            assert not re.search(r"[ \t\n\r]", re.sub(STRING, '""', text)), "no white space"


def verify(data, verifier):
    head, _, note = data.decode().partition("\n\n")
    version, extra, index, *hashes = head.split("\n")
    assert version == "c2sp.org/tlog-proof@v1" and extra.startswith("extra ") and index.startswith("index ")
    index = index.removeprefix("index ")
    assert str(int(index)) == index and int(index) >= 0
    hashes = [unbase64(hash) for hash in hashes]
    assert all(len(hash) == 32 for hash in hashes)
    extra = json.loads(unbase64(extra.removeprefix("extra ")), object_pairs_hook=unique)
    assert extra.keys() == {"leaf", "groups"} and extra["groups"].keys() <= set(GROUPS)
    leaf = unbase64(extra["leaf"])
    lines = leaf.decode().split("\n")
    names = ["log", "seq", "id", "recorded", "writer", *GROUPS]
    assert lines[0] == "auditlog/entry/v1" and lines[-1] == "" and len(lines) == len(names) + 2
    told = {name: line.removeprefix(name + " ") for name, line in zip(names, lines[1:])}
    assert [f"{name} {value}" for name, value in told.items()] == lines[1:-1]
    origin, size, root = checkpoint(note, verifier)
    assert told["log"] == origin.rpartition("/")[2] and told["seq"] == str(int(index) + 1)
    assert told["id"].startswith("auditlog:") == (told["writer"] == "-")
    assert root_of(sha256(b"\0", leaf), int(index), size, hashes) == root
    for group, disclosed in extra["groups"].items():
        assert disclosed.keys() == {"salt", "fields"} and len(unbase64(disclosed["salt"])) == 16
        check_fields(group, disclosed["fields"])
        parts = [b"auditlog/group/v1\0", group.encode(), b"\0", unbase64(disclosed["salt"])]
        for name, value in disclosed["fields"]:
            for text in [name.encode(), value.encode()]:
                parts += [struct.pack(">I", len(text)), text]
        assert base64.b64encode(sha256(*parts)).decode() == told[group], group


for path in sys.argv[2:]:
    try:
        with open(path, "rb") as file:
            verify(file.read(), sys.argv[1])
        print("verified")
    except Exception as error:
        print("not verified:", repr(error).replace("\n", " "))
