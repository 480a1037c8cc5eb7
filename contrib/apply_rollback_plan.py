#!/usr/bin/env python3
"""Applies a rollback plan of auditlog to a small store, as an example for services with stores of their own.

    apply_rollback_plan.py STORE --by USER --as-of N
        (--entry ID... | --resource TYPE ID --at TIME | --user ID --start-date DATE --end-date DATE | --trace ID)
        [--apply STEP]... [--skip STEP]...

Look at the plan first, with `auditlog rollback-plan`. --as-of is the number that it prints, so this is the same plan.
A step that is neither ready nor noop needs a decision: --apply or --skip, with its number in the plan. So does one that
creates a resource again, because the log may not have all of its fields, and one whose present values the plan does not
have. Without these decisions, nothing is applied.

The store is a SQLite file with a table of JSON documents:

    CREATE TABLE documents (type TEXT, id TEXT, body TEXT NOT NULL, PRIMARY KEY (type, id));

A dot in the path of a field is a level of the document. Numbers keep all of their digits. The steps of a resource are
one transaction: all of them are applied, or none. A field must have the value that the plan expects. If it has another
one, somebody has changed it since, and the program ends. Make a new plan then. Most of what is undone already is a noop
in it; a resource that was created again, and fields that overlap, are conflicts with the repair.

The same transaction writes the audit entries into a table `outbox`. From there the program sends them to the service,
and it removes them once they are durable. If it ends before that, the next run sends them: they keep their ids, so none
is recorded twice. If the service refuses an entry, the program says so and sends the others. The column `refused` has
the reason, and the next run tries the entry again. Each entry has `revertOf` in its metadata: the id of the entry that
it undoes, or of the oldest one, and then `revertThrough` has the id of the newest one.

AUDITLOG_ENDPOINT, AUDITLOG_API_KEY (scopes read and write) and AUDITLOG_ORGANIZATION come from the environment. Exit
codes: 0 the plan is applied and recorded, 1 it is not, or not completely, 2 wrong usage.
"""

import argparse
import http.client
import json
import os
import sqlite3
import sys
import unicodedata
import urllib.error
import urllib.parse
import urllib.request
import uuid
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation

# The number of entries of one write. The service takes at most 1,000.
MAX_SENT = 100
# The limits of the service for one entry. Bytes are those of UTF-8.
MAX_CHANGES = 1_000
MAX_ENTRY_BYTES = 256 * 1024
MAX_USER_BYTES = 256
# Longer than the service's own limit, so that the service says what became of a write.
TIMEOUT = 35
# The service will never accept a write with one of these answers. After any other one, it may accept the same write.
REFUSALS = (400, 409, 413, 415)


class Refused(Exception):
    """The reason why the program ends early."""


class EntryRefused(Refused):
    """The service refuses an entry of a write. It may accept the others."""


class Number(str):
    """A number as its JSON text. A float of Python has only 17 digits, and 1e400 would be infinite."""


def no_number(name):
    raise ValueError(f"{name} is not JSON")


def from_json(text):
    """The value of a JSON text. Its numbers are of the type Number."""
    return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=no_number)


def to_json(value):
    """The JSON text of a value, without white space. Characters are not escaped, so its bytes are those that count."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{to_json(key)}:{to_json(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(to_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def call(path, body):
    """Sends the JSON text `body` in a POST to the service, and returns the answer."""
    organization = urllib.parse.quote(os.environ["AUDITLOG_ORGANIZATION"], safe="")
    try:
        request = urllib.request.Request(
            f"{os.environ['AUDITLOG_ENDPOINT'].rstrip('/')}/v1/{organization}/{path}",
            data=body.encode(),
            headers={
                "Authorization": f"Bearer {os.environ['AUDITLOG_API_KEY']}",
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return from_json(answer.read())
    except urllib.error.HTTPError as error:
        code, message = code_and_message(error)
        # An entry that is ahead of the service's clock must not hold up the others.
        is_of_entry = error.code in REFUSALS or code == "timestamp_ahead"
        raise (EntryRefused if is_of_entry else Refused)(f"{path}: {message}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Refused(f"{path}: {error}") from error


def code_and_message(error):
    """The code and the message of an error of the service."""
    try:
        body = json.load(error)["error"]
        return body["code"], body["message"]
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return None, str(error)


def is_same(one, other):
    """Whether two JSON values are equal. 1 and 1.0 are; 1 and true are not."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, Number) and one != other:
        try:
            return Decimal(one) == Decimal(other)
        except InvalidOperation:
            # An exponent has more than 18 digits.
            return False
    return one == other


def value_of(document, field):
    """The value of a field. An absent one is None, as null is."""
    for key in field.split("."):
        if document is None:
            return None
        if not isinstance(document, dict):
            raise Refused(f"{field} is below a value that is no object")
        document = document.get(key)
    return document


def set_value(document, field, value):
    """Sets a field, or removes it if the value is None."""
    *above, last = field.split(".")
    for key in above:
        if value is None and document.get(key) is None:
            return
        below = document.get(key)
        if below is None:
            below = document[key] = {}
        if not isinstance(below, dict):
            raise Refused(f"{field} is below a value that is no object")
        document = below
    if value is None:
        document.pop(last, None)
    else:
        document[last] = value


def read(store, resource):
    """The document of a resource; None if it does not exist."""
    row = store.execute("SELECT body FROM documents WHERE type = ? AND id = ?", resource).fetchone()
    try:
        return None if row is None else from_json(row[0])
    except ValueError as error:
        raise Refused(f"its document cannot be read: {error}") from error


def check(document, field, expected):
    """Errors: a field has another value than the plan expects."""
    found = value_of(document, field)
    if not is_same(found, expected):
        raise Refused(f"{field} is {to_json(found)}, and the plan expects {to_json(expected)}")


def restore(store, resource, step):
    """Sets a field back, if it has the value that the plan expects. Returns the action and the changes."""
    field, document = step["field"], read(store, resource)
    if document is None:
        raise Refused("it does not exist")
    if "restore" not in step:
        raise Refused(f"the plan leaves out the value of {field}, because it is too large; it is the old value of "
                      f"{field} in {step['oldest']['id']}")
    if "expected" in step:
        check(document, field, step["expected"])
    found = value_of(document, field)
    set_value(document, field, step["restore"])
    store.execute("UPDATE documents SET body = ? WHERE type = ? AND id = ?", (to_json(document), *resource))
    return "updated", [{"field": field, "oldValue": found, "newValue": step["restore"]}]


def recreate(store, resource, step):
    """Creates a resource with the fields that are known. Returns the action and the changes."""
    if read(store, resource) is not None:
        raise Refused("it exists already")
    document = {}
    # By path, so a field comes before the fields below it.
    for field in step["fields"]:
        if "value" not in field:
            raise Refused(f"the plan leaves out the value of {field['field']}, because it is too large; "
                          "docs/undoing-changes.md says where to find it")
        set_value(document, field["field"], field["value"])
    store.execute("INSERT INTO documents (type, id, body) VALUES (?, ?, ?)", (*resource, to_json(document)))
    return "created", [{"field": field["field"], "newValue": field["value"]} for field in step["fields"]]


def delete(store, resource, step):
    """Deletes a resource, if its fields have the values that the plan expects. Returns the action and the changes."""
    document = read(store, resource)
    if document is None:
        raise Refused("it does not exist")
    fields = step.get("fields", [])
    known = [field for field in fields if "value" in field]
    unknown = [field["field"] for field in fields if "value" not in field]
    expected = {}
    # By path, so a field comes before the fields below it, which replace its parts.
    for field in known:
        set_value(expected, field["field"], field["value"])
    for path in (field["field"] for field in known):
        if not any(other.startswith(f"{path}.") for other in unknown):
            check(document, path, value_of(expected, path))
    store.execute("DELETE FROM documents WHERE type = ? AND id = ?", resource)
    return "deleted", []


DO = {"restore": restore, "recreate": recreate, "delete": delete}


def entry(step, by, action, changes):
    """The audit entry of a step. Its id is made once; the outbox keeps it."""
    oldest, newest = step["oldest"]["id"], step["newest"]["id"]
    through = {} if oldest == newest else {"revertThrough": newest}
    return {
        "id": f"log_{uuid.uuid4().hex}",
        "timestamp": datetime.now(timezone.utc).isoformat(),
        "resourceType": step["resourceType"],
        "resourceId": step["resourceId"],
        "action": action,
        "userId": by,
        "changes": changes,
        "metadata": {"source": "rollback", "revertOf": oldest, **through},
    }


def check_limits(audit):
    """Errors: the service would refuse the audit entry."""
    texts = [audit["id"], audit["resourceId"], audit["userId"], *audit["metadata"], *audit["metadata"].values()]
    for change in audit["changes"]:
        texts += [change["field"], to_json(change.get("oldValue")), to_json(change.get("newValue"))]
    size = sum(len(text.encode()) for text in texts)
    for number, limit, unit in [(len(audit["changes"]), MAX_CHANGES, "changes"), (size, MAX_ENTRY_BYTES, "bytes")]:
        if number > limit:
            raise Refused(f"its audit entry would have {number} {unit}, and the service takes at most {limit}")


def needs_decision(step):
    """Whether somebody has to decide about a step. Without the expected values, nothing tells of later changes. A
    resource that is created again lacks the fields that no entry changed since it was first created."""
    is_blind = {
        "restore": "expected" not in step,
        "recreate": True,
        "delete": any("value" not in field for field in step.get("fields", [])),
    }
    is_ready = step["status"] == "ready"
    return is_blind.get(step["action"], False) if is_ready else step["status"] != "noop"


def chosen(plan, options):
    """The steps to apply with their numbers, by resource, in the order of the plan. Errors: a decision is missing."""
    steps = dict(enumerate(plan["steps"], 1))
    for number in options.apply + options.skip:
        if number not in steps:
            raise Refused(f"there is no step {number}")
    by_resource, undecided = {}, []
    for number, step in steps.items():
        if number in options.skip or step["status"] == "noop":
            continue
        if number not in options.apply and needs_decision(step):
            undecided.append(f"step {number} of {step['resourceType']} {step['resourceId']} needs a decision "
                             f"({step['status']}): {step['explanation']}")
        elif step["action"] in DO:
            by_resource.setdefault((step["resourceType"], step["resourceId"]), []).append((number, step))
        else:
            raise Refused(f"step {number} has nothing to apply; --skip {number}")
    if undecided:
        raise Refused("\n".join([*undecided, "nothing was applied: decide with --apply STEP or --skip STEP"]))
    return by_resource


def apply(store, plan, options):
    """Applies the steps, one transaction for each resource. Errors: a resource is not as the plan expects."""
    for resource, steps in chosen(plan, options).items():
        try:
            with store:
                store.execute("BEGIN IMMEDIATE")
                for _, step in steps:
                    action, changes = DO[step["action"]](store, resource, step)
                    audit = entry(step, options.by, action, changes)
                    check_limits(audit)
                    store.execute("INSERT INTO outbox (entry) VALUES (?)", [to_json(audit)])
        # A document may have a lone surrogate such as "\ud800", which UTF-8 does not have.
        except (Refused, UnicodeEncodeError) as reason:
            name = " ".join(resource)
            raise Refused(f"{name} is left as it is, and so are the resources after it: {reason}") from reason
        for number, step in steps:
            print(f"step {number}: {step['action']} {' '.join(resource)} {step.get('field', '')}".rstrip())


def send(store):
    """Sends the entries of the outbox, in their order. Removes those that are durable, and marks those that the service
    refuses."""
    waiting = "SELECT place, entry FROM outbox WHERE refused IS NULL ORDER BY place LIMIT ?"
    limit = MAX_SENT
    while rows := store.execute(waiting, [limit]).fetchall():
        # A request has at most 4 MiB.
        size = 0
        rows = [row for row in rows if (size := size + len(row[1].encode())) < 3 * 1024 * 1024] or rows[:1]
        try:
            written = call("audit-logs", '{"auditLogs":[' + ",".join(text for _, text in rows) + "]}")
        except EntryRefused as reason:
            if len(rows) > 1:
                # Alone, the entries before the wrong one pass, and then the service says what is wrong.
                limit = 1
                continue
            [(place, text)] = rows
            store.execute("UPDATE outbox SET refused = ? WHERE place = ?", [str(reason), place])
            print(f"{json.loads(text)['id']} is refused; the outbox keeps it: {reason}", file=sys.stderr)
            limit = MAX_SENT
            continue
        except Refused as reason:
            raise Refused(f"{reason}; the outbox keeps its entries for the next run") from reason
        with store:
            store.execute("BEGIN IMMEDIATE")
            store.executemany("DELETE FROM outbox WHERE place = ?", [[place] for place, _ in rows])
        for one in written["auditLogs"]:
            print(f"recorded {one['id']}")


def selection(options):
    """The entries to undo, as the body of a request for a plan has them."""
    if options.entry:
        return {"entries": options.entry}
    if options.resource:
        resource_type, resource_id = options.resource
        return {"resource": {"resourceType": resource_type, "resourceId": resource_id, "at": options.at}}
    if options.user:
        return {"user": {"userId": options.user, "startDate": options.start_date, "endDate": options.end_date}}
    return {"traceId": options.trace}


def user(text):
    """An id that the service takes for a user."""
    if not 1 <= len(text.encode()) <= MAX_USER_BYTES or any(unicodedata.category(letter) == "Cc" for letter in text):
        raise argparse.ArgumentTypeError(f"must be 1 to {MAX_USER_BYTES} bytes of printable text, got {text!r}")
    return text


def parsed(arguments):
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, usage=argparse.SUPPRESS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--by", type=user, metavar="USER", required=True, help="who undoes the entries")
    parser.add_argument("--as-of", type=int, required=True, metavar="N", help="the number that the plan printed")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--entry", action="append", metavar="ID")
    what.add_argument("--resource", nargs=2, metavar=("TYPE", "ID"))
    what.add_argument("--user", metavar="ID")
    what.add_argument("--trace", metavar="ID")
    for name in ("--at", "--start-date", "--end-date"):
        parser.add_argument(name, metavar="TIME")
    parser.add_argument("--apply", action="append", type=int, default=[], metavar="STEP", help="apply it all the same")
    parser.add_argument("--skip", action="append", type=int, default=[], metavar="STEP", help="leave it out")
    options = parser.parse_args(arguments)
    needed = {"--at": (options.resource, options.at)}
    needed.update({"--start-date": (options.user, options.start_date), "--end-date": (options.user, options.end_date)})
    for name, (selected, value) in needed.items():
        if bool(selected) != (value is not None):
            parser.error(f"{name} comes with {'--resource' if name == '--at' else '--user'}, and only then")
    if both := set(options.apply) & set(options.skip):
        parser.error(f"--apply and --skip have the same step: {min(both)}")
    for name in ("AUDITLOG_ENDPOINT", "AUDITLOG_API_KEY", "AUDITLOG_ORGANIZATION"):
        if name not in os.environ:
            parser.error(f"{name} is not set")
    return options


def main(arguments):
    options = parsed(arguments)
    try:
        # Transactions begin with BEGIN IMMEDIATE.
        store = sqlite3.connect(f"file:{urllib.parse.quote(options.store)}?mode=rw", uri=True, isolation_level=None)
        store.execute("CREATE TABLE IF NOT EXISTS outbox "
                      "(place INTEGER PRIMARY KEY AUTOINCREMENT, entry TEXT NOT NULL, refused TEXT)")
        # What an earlier run could not send. The cause of a refusal may be mended.
        store.execute("UPDATE outbox SET refused = NULL")
        send(store)
        plan = call("rollback-plans", to_json({**selection(options), "asOf": options.as_of}))
        stopped = None
        try:
            apply(store, plan, options)
        except Refused as reason:
            print(reason, file=sys.stderr)
            stopped = reason
        # Also if only a part was applied.
        send(store)
        [unsent] = store.execute("SELECT count(*) FROM outbox").fetchone()
        return 1 if stopped or unsent else 0
    except (Refused, sqlite3.Error) as reason:
        print(reason, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
