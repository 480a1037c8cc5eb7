// A client like one in a browser, with gRPC-Web over fetch, against a running service: node client.mjs DESCRIPTOR_SET
//
// Reads AUDITLOG_ENDPOINT, AUDITLOG_API_KEY (bound to one organization, scopes read and write) and
// AUDITLOG_ORGANIZATION from the environment. Prints a line for each check. The first failed check ends it with exit
// code 1. Each run uses new ids, so it can run again.

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { inspect, isDeepStrictEqual } from 'node:util';
import { create, createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import {
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcWebTransport } from '@connectrpc/connect-web';

const { AUDITLOG_ENDPOINT: endpoint, AUDITLOG_API_KEY: key, AUDITLOG_ORGANIZATION: organizationId } = process.env;
const run = `node-${randomUUID()}`;

function failed(message) {
  console.error(`FAILED ${message}`);
  process.exit(1);
}

function equal(what, got, wanted) {
  if (!isDeepStrictEqual(got, wanted)) failed(`${what}: got ${inspect(got)}, wanted ${inspect(wanted)}`);
}

function ok(check) {
  console.log(`ok ${check}`);
}

// The parts of google.rpc.ErrorInfo and BadRequest that this client reads. Errors carry them as `Any`, so the service's
// descriptor set does not import them.
const string = (name, number) => ({ name, number, label: Label.OPTIONAL, type: Type.STRING });
const violations = {
  name: 'field_violations',
  number: 1,
  label: Label.REPEATED,
  type: Type.MESSAGE,
  typeName: '.google.rpc.BadRequest.FieldViolation',
};
const errorDetails = create(FileDescriptorProtoSchema, {
  name: 'google/rpc/error_details.proto',
  package: 'google.rpc',
  syntax: 'proto3',
  messageType: [
    { name: 'ErrorInfo', field: [string('reason', 1), string('domain', 2)] },
    {
      name: 'BadRequest',
      field: [violations],
      nestedType: [{ name: 'FieldViolation', field: [string('field', 1), string('description', 2)] }],
    },
  ],
});

// Reads the descriptors at run time instead of using generated code.
const descriptors = fromBinary(FileDescriptorSetSchema, readFileSync(process.argv[2]));
descriptors.file.push(errorDetails);
const registry = createFileRegistry(descriptors);
const service = registry.getService('auditlog.v1.AuditLogService');
const ErrorInfo = registry.getMessage('google.rpc.ErrorInfo');
const BadRequest = registry.getMessage('google.rpc.BadRequest');

// The content types of requests and answers.
const contentTypes = new Set();
async function recordingFetch(url, init) {
  const response = await fetch(url, init);
  contentTypes.add(new Headers(init.headers).get('content-type')).add(response.headers.get('content-type'));
  return response;
}

function connect(headers) {
  const withHeaders = (next) => (request) => {
    for (const [name, value] of Object.entries(headers)) request.header.set(name, value);
    return next(request);
  };
  const options = { baseUrl: endpoint, fetch: recordingFetch, interceptors: [withHeaders], defaultTimeoutMs: 30_000 };
  return createClient(service, createGrpcWebTransport(options));
}

// Checks that the call fails with this code and reason. Returns the fields that the error names.
async function refused(what, code, reason, call) {
  try {
    await call();
  } catch (error) {
    if (!(error instanceof ConnectError)) throw error;
    equal(`${what}: code`, Code[error.code], Code[code]);
    const reasons = error.findDetails(ErrorInfo).map((info) => [info.domain, info.reason]);
    equal(`${what}: reason`, reasons, [['auditlog', reason]]);
    ok(`${what} is ${Code[code]} ${reason}`);
    return error.findDetails(BadRequest).flatMap((bad) => bad.fieldViolations.map((violation) => violation.field));
  }
  return failed(`${what}: it was answered, wanted ${Code[code]}`);
}

async function collect(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return pieces;
}

const client = connect({ authorization: `Bearer ${key}` });

// With the current time, the entry is the first in the list below. 2^53 + 1 is more than a JavaScript number can
// represent.
const entry = {
  id: run,
  resourceType: 'rule',
  resourceId: run,
  action: 'shared',
  userId: 'uid_node',
  userName: 'Zoë 🐍',
  changes: [{ field: 'quota', oldValueJson: '9007199254740993', newValueJson: '{"a":[1,null]}' }],
  metadata: { source: 'node' },
};
const [written] = (await client.writeAuditLogs({ organizationId, auditLogs: [entry] })).auditLogs;
equal('written', [written.id, written.replayed], [run, false]);
const [again] = (await client.writeAuditLogs({ organizationId, auditLogs: [entry] })).auditLogs;
equal('written again', [again.replayed, again.sequence], [true, written.sequence]);
ok('write, and the same write again is replayed');

const own = await client.listAuditLogs({ organizationId, filter: { resourceIds: [run] } });
const { id, userName, changes: [change], metadata } = own.auditLogs[0];
equal('total of one', [own.pagination.total, own.pagination.hasMore, own.auditLogs.length], [1n, false, 1]);
equal('its values', [id, userName, metadata], [run, entry.userName, entry.metadata]);
equal('its change', [change.field, change.oldValueJson, change.newValueJson], Object.values(entry.changes[0]));
const page = await client.listAuditLogs({ organizationId, limit: 2 });
equal('the newest', page.auditLogs[0].id, run);
ok('list, with the values exact');

const pieces = await collect(client.exportAuditLogs({ organizationId }));
const head = pieces.at(-1).headSequence;
const sequences = pieces.flatMap((piece) => piece.auditLogs.map((log) => log.sequence));
equal('each entry once, ascending', sequences, Array.from({ length: Number(head) }, (_, index) => BigInt(index + 1)));
equal('the export ends at its head', [pieces.at(-1).sequence, pieces.length > 1], [head, true]);
equal('as many as the list says', BigInt(sequences.length), page.pagination.total);
ok(`export of ${head} entries in ${pieces.length} pieces`);

const limitZero = () => client.listAuditLogs({ organizationId, limit: 0 });
equal('the bad field', await refused('limit 0', Code.InvalidArgument, 'INVALID_PARAMETER', limitZero), ['limit']);
const stranger = connect({});
const list = () => stranger.listAuditLogs({ organizationId });
await refused('no key', Code.Unauthenticated, 'MISSING_AUTHENTICATION', list);
const exporting = () => collect(stranger.exportAuditLogs({ organizationId }));
await refused('no key for a stream', Code.Unauthenticated, 'MISSING_AUTHENTICATION', exporting);
const beyond = () => collect(client.exportAuditLogs({ organizationId, afterSequence: head + 1n }));
const fields = await refused('an export from beyond the end', Code.InvalidArgument, 'INVALID_PARAMETER', beyond);
equal('the bad field', fields, ['after_sequence']);

equal('content types', [...contentTypes], ['application/grpc-web+proto']);
ok('all of it was binary gRPC-Web');
