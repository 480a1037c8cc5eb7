// The search language: `type:assistant by:john* since:7d some text` to parameters of the REST API, and back. Pure.

import { absolute, isRelative } from './time.js';

/** The keywords: the word, the parameter, and what it means. The names of the parameters work as keywords, too. */
export const KEYWORDS = [
  ['type', 'resourceType', 'type of the resource'],
  ['id', 'resourceId', 'id of the resource'],
  ['resource', 'resourceName', 'name of the resource, or its beginning'],
  ['action', 'action', 'the action'],
  ['by', 'userId', 'id of the user, or the name or address'],
  ['name', 'userName', 'name of the user, or its beginning'],
  ['email', 'userEmail', 'address of the user, or its beginning'],
  ['changed', 'changes.field', 'a changed field, or all below it'],
  ['from', 'changes.oldValue', 'value before the change, as JSON'],
  ['to', 'changes.newValue', 'value after the change, as JSON'],
  ['since', 'startDate', 'at or after a date, or so long ago'],
  ['until', 'endDate', 'at or before a date'],
  ['on', 'startDate', 'on one day, in UTC'],
  ['outcome', 'outcome', 'success, failure or denied'],
  ['actor', 'actorType', 'user, service, system or anonymous'],
  ['trace', 'traceId', 'id of the trace'],
  ['meta.', 'metadata.', 'value of a key of the metadata'],
  ['recorded-after', 'recordedAfter', 'recorded at or after a date'],
  ['recorded-before', 'recordedBefore', 'recorded before a date'],
  ['text', 'text', 'a text anywhere in the entry'],
].map(([word, name, help]) => ({ word, name, help }));

/** The names of the filter's parameters in the query string, but `metadata.KEY`. */
export const FILTER_NAMES = [...new Set(KEYWORDS.map(({ name }) => name)), 'since']
  .filter((name) => !name.endsWith('.'));

const REPEATED = new Set(['resourceType', 'resourceId', 'action', 'userId', 'outcome', 'actorType', 'traceId']);
const INDEXED = new Set([...REPEATED, 'startDate', 'endDate', 'since']);
INDEXED.delete('actorType');
const BY_WORD = new Map(KEYWORDS.map((keyword) => [keyword.word, keyword]));
for (const { name } of KEYWORDS) BY_WORD.set(name.toLowerCase(), { word: name, name });
const MAX_VALUE = 2000;
const MAX_TEXT = 256;
const DAY = /^\d{4}-\d\d-\d\d$/;
const HEAD = /^(?:(meta\.|metadata\.)(?:"((?:[^"\\]|\\.)+)"|([^\s:"]+))|([a-z][\w.-]{0,40})):/is;
const isJson = (text) => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

/** Whether `name` is a parameter of the filter. */
export const isFilterName = (name) => FILTER_NAMES.includes(name) || /^metadata\../s.test(name);
/** Whether the parameter makes the service test entries one by one, so that it refuses a broad filter. */
export const isSearched = (name) => isFilterName(name) && !INDEXED.has(name);

/** The filter of a query string, as it is written there. Returns URLSearchParams. */
export const rawFilter = (params) => new URLSearchParams([...params].filter(([name]) => isFilterName(name)));

/** The filter of a query string as the REST API takes it: `since` becomes `startDate`. Returns URLSearchParams. */
export const filterOf = (params, now = Date.now()) => new URLSearchParams([...rawFilter(params)].map(([name, value]) =>
  name === 'since' ? ['startDate', isRelative(value) ? absolute(value, now) : value] : [name, value]));

const unescape = (text) => text.replace(/\\(["\\])/g, '$1');
const quote = (text, plain = /^[^\s"]+$/) => plain.test(text) ? text : `"${text.replace(/["\\]/g, '\\$&')}"`;

/** Reads `"…"` or a run without white space from `at`. Returns the value, and where it ends. */
const readPlain = (text, at) => {
  const [raw, quoted] = /^(?:"((?:[^"\\]|\\.)*)(?:"|\\?$)|[^\s]*)/s.exec(text.slice(at));
  return { value: quoted === undefined ? raw : unescape(quoted), end: at + raw.length };
};

/** The end of the string, list or object that a text begins with; 0 if it has none. */
const endOfJson = (text) => {
  let depth = 0;
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]|\\.)*"|[[{\]}]/g)) {
    if (token === '[' || token === '{') depth += 1;
    else if (token === ']' || token === '}') depth -= 1;
    if (depth === 0) return index + token.length;
  }
  return 0;
};

/** Reads a JSON value from `at`: quotes are a part of it, and objects and lists may hold white space. */
const readJson = (text, at) => {
  const rest = text.slice(at, at + MAX_VALUE);
  const whole = rest.slice(0, /^["{[]/.test(rest) ? endOfJson(rest) : 0);
  const isWhole = whole !== '' && isJson(whole) && !/^\S/.test(rest.slice(whole.length));
  const end = isWhole ? whole.length : /^\S*/.exec(text.slice(at))[0].length;
  return { value: text.slice(at, at + end), end: at + end };
};

const isValue = (name) => name === 'changes.oldValue' || name === 'changes.newValue';
const isDate = (value) => /^\d{4}-\d\d/.test(value);
const DATES = new Set(['startDate', 'endDate', 'recordedAfter', 'recordedBefore']);
/** A time that lacks its seconds or its zone is meant in UTC. */
const wholeTime = (value) => value.replace(/^(\d{4}-\d\d-\d\dT\d\d:\d\d)(:\d\d(?:\.\d+)?)?$/i,
  (_, minutes, seconds = ':00') => `${minutes}${seconds}Z`);

const pairsOf = ({ word, name }, key, given) => {
  const value = DATES.has(name) ? wholeTime(given) : given;
  if (word === 'by' && value.includes('@')) return [['userEmail', value]];
  if (word === 'by' && /\*$|\s/.test(value)) return [['userName', value]];
  if (word === 'on') return [['startDate', value], ['endDate', value]];
  if (word === 'since' && isRelative(value)) return [['since', value]];
  // A date is no JSON, so that no value of a change is lost.
  if (word === 'from' && isDate(value)) return [['startDate', value]];
  if (word === 'to' && isDate(value)) return [['endDate', value]];
  return [[name + key, value]];
};

/**
 * Reads a search. Returns `params`, the pairs of name and value; `unknown`, words such as `foo:` that are no keyword
 * and so are text; and `faults`, sentences about keywords without a value.
 */
export const parseSearch = (text) => {
  const result = { params: [], unknown: [], faults: [] };
  const words = [];
  let at = 0;
  while (at < text.length) {
    if (/\s/.test(text[at])) {
      at += 1;
      continue;
    }
    const [head, meta, quotedKey, plainKey, word] = HEAD.exec(text.slice(at, at + 2000)) ?? [];
    const key = quotedKey === undefined ? plainKey ?? '' : unescape(quotedKey);
    const keyword = head === undefined ? undefined : BY_WORD.get((meta ?? word).toLowerCase());
    if (keyword === undefined || keyword.name.endsWith('.') !== (key !== '')) {
      const { value, end } = readPlain(text, at);
      words.push(value);
      if (head !== undefined && !head.startsWith('http')) result.unknown.push(head);
      at = end;
      continue;
    }
    const { value, end } = (isValue(keyword.name) ? readJson : readPlain)(text, at + head.length);
    const isMissing = end === at + head.length;
    at = end;
    if (isMissing) result.faults.push(`${head} needs a value, without a space before it.`);
    else if (keyword.name === 'text') words.push(value);
    else result.params.push(...pairsOf(keyword, key, value));
  }
  if (words.length > 0) result.params.push(['text', words.join(' ')]);
  return result;
};

/** One parameter in the search language. Returns text that `parseSearch` reads as the same parameter. */
export const textOf = (name, value) => {
  if (name === 'text') {
    // The service refuses long texts, so their chip need not be short.
    if (value.length > MAX_TEXT) return `text:${quote(value)}`;
    const { params, faults } = parseSearch(value);
    const same = params.length === 1 && params[0][0] === 'text' && params[0][1] === value && faults.length === 0;
    return same ? value : `text:${quote(value)}`;
  }
  if (name === 'since') return `since:${quote(value)}`;
  if (name.startsWith('metadata.')) {
    return `meta.${quote(name.slice('metadata.'.length), /^[^\s:"]+$/)}:${quote(value)}`;
  }
  const keyword = KEYWORDS.find((candidate) => candidate.name === name);
  const [[given]] = pairsOf(keyword, '', value);
  const word = given === name ? keyword.word : name;
  if (!isValue(name)) return `${word}:${quote(value)}`;
  const plain = (/^[^\s"{[]\S*$/.test(value) && !isDate(value)) || (/^["{[]/.test(value) && isJson(value));
  return `${word}:${plain ? value : JSON.stringify(value)}`;
};

/** The filter as chips. Returns `{ name, value, label, text, pairs }` each; `pairs` are the parameters of the chip. */
export const chips = (params) => {
  const pairs = [...rawFilter(params)];
  const of = (wanted) => pairs.find(([name]) => name === wanted)?.[1];
  const oneDay = DAY.test(of('startDate')) && of('startDate') === of('endDate');
  return pairs.flatMap(([name, value]) => {
    if (oneDay && name === 'endDate') return [];
    const day = oneDay && name === 'startDate';
    const text = day ? `on:${value}` : textOf(name, value);
    const label = name === 'text' && !text.startsWith('text:') ? `text:${value}` : text;
    return [{ name, value, label, text, pairs: day ? [[name, value], ['endDate', value]] : [[name, value]] }];
  });
};

/** The filter without `removed` and with `added`; both are pairs. A parameter that may not repeat is replaced. */
export const changeFilter = (params, removed, added) => {
  const gone = ([name, value]) => removed.some(([otherName, other]) => otherName === name && other === value);
  let pairs = [...rawFilter(params)].filter((pair) => !gone(pair));
  for (const [name, value] of added) {
    const replaced = name === 'since' || name === 'startDate' ? ['since', 'startDate'] : [name];
    pairs = pairs.filter(([other, old]) => !replaced.includes(other) || (REPEATED.has(name) && old !== value));
    pairs.push([name, value]);
  }
  return new URLSearchParams(pairs);
};

/** The changes of `go` and `href` that make `filter` the filter of the query `params`. Returns an object. */
export const changesTo = (params, filter) => {
  const names = new Set([...rawFilter(params).keys(), ...filter.keys()]);
  return Object.fromEntries([...names].map((name) => [name, filter.has(name) ? filter.getAll(name) : null]));
};

/** The parameter that an error of the service is about, such as `startDate: must not …`. Returns its name, or null. */
export const faultyParameter = (error) => {
  if (error.status !== 400 || error.code === 'too_broad') return null;
  const [, unknown, faulty] = /^(?:"([^"]+)" is not a parameter|([\w.]+|metadata\..+?): )/.exec(error.message) ?? [];
  const name = unknown ?? faulty ?? '';
  return isFilterName(name) ? name : null;
};
