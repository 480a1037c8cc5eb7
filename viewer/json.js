// JSON texts kept byte for byte. JSON.parse loses digits of large numbers, duplicate keys, their order and escapes.

const MAX_DEPTH = 512;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORDS = { t: ['true', 'boolean'], f: ['false', 'boolean'], n: ['null', 'null'] };

/** The members whose values people wrote: `toPlain` keeps these as `Json`. `metadata.*` is each value of `metadata`. */
export const EXACT_KEYS = new Set(
  ['oldValue', 'newValue', 'value', 'written', 'found', 'restore', 'expected', 'metadata.*']);

/** One JSON value, with its text exactly as written. Made by `parse`. */
export class Json {
  #source; #start; #end; #children; #string;

  constructor(kind, source, start, end, children) {
    this.kind = kind;
    this.#source = source;
    this.#start = start;
    this.#end = end;
    this.#children = children;
  }

  /** The text of the value, as written. */
  get text() { return this.#source.slice(this.#start, this.#end); }
  /** The length of `text`. */
  get length() { return this.#end - this.#start; }
  /** The members of an object, `{ key, keyText, value }`, in their order and with duplicates. Otherwise empty. */
  get members() { return this.kind === 'object' ? this.#children : []; }
  /** The items of an array. Otherwise empty. */
  get items() { return this.kind === 'array' ? this.#children : []; }
  /** The decoded text of a string. Otherwise null. */
  get string() {
    if (this.kind !== 'string') return null;
    this.#string ??= JSON.parse(this.text);
    return this.#string;
  }
  /** The decoded text of a string, or else the text. */
  toString() { return this.string ?? this.text; }
}

class Member {
  #decoded;

  constructor(keyText, value) {
    this.keyText = keyText;
    this.value = value;
  }

  get key() {
    this.#decoded ??= JSON.parse(this.keyText);
    return this.#decoded;
  }
}

const fail = (source, at, expected) => {
  const before = source.slice(0, at);
  const line = before.split('\n').length;
  const column = at - before.lastIndexOf('\n');
  const found = at < source.length ? JSON.stringify([...source.slice(at, at + 2)][0]) : 'the end of the text';
  throw new SyntaxError(`JSON: expected ${expected}, found ${found} at line ${line}, column ${column}`);
};

const skipSpace = (source, at) => {
  for (;;) {
    const code = source.charCodeAt(at);
    if (code !== 32 && code !== 10 && code !== 13 && code !== 9) return at;
    at += 1;
  }
};

/** The place after the string that starts at `start`. A loop, since a regular expression may run out of stack. */
const stringEnd = (source, start) => {
  for (let at = start + 1; ; at += 1) {
    const code = source.charCodeAt(at);
    if (code === 34) return at + 1;
    if (code === 92) {
      at += 1;
      const escape = source[at];
      if (escape === 'u') {
        if (!/^[0-9a-fA-F]{4}$/.test(source.slice(at + 1, at + 5))) fail(source, at + 1, 'four hexadecimal digits');
        at += 4;
      } else if (escape === undefined || !'"\\/bfnrt'.includes(escape)) fail(source, at, 'an escape');
    } else if (!(code >= 32)) fail(source, at, 'a character of a string or its closing quote');
  }
};

const scalar = (source, at) => {
  const first = source[at];
  if (first === '"') return new Json('string', source, at, stringEnd(source, at));
  const [word, kind] = (Object.hasOwn(WORDS, first ?? '') && WORDS[first]) || [];
  if (word !== undefined && source.startsWith(word, at)) return new Json(kind, source, at, at + word.length);
  NUMBER.lastIndex = at;
  if (NUMBER.test(source)) return new Json('number', source, at, NUMBER.lastIndex);
  return fail(source, at, 'a value');
};

/** Parses a JSON text. Returns a `Json`; throws a SyntaxError that names the place. At most 512 levels deep. */
export const parse = (source) => {
  const open = [];
  let at = skipSpace(source, 0);
  let value = null;
  const memberKey = () => {
    at = skipSpace(source, at);
    if (source[at] !== '"') fail(source, at, 'a key in quotes');
    const end = stringEnd(source, at);
    const keyText = source.slice(at, end);
    at = skipSpace(source, end);
    if (source[at] !== ':') fail(source, at, '":"');
    at = skipSpace(source, at + 1);
    return keyText;
  };
  for (;;) {
    const first = source[at];
    if (first === '{' || first === '[') {
      if (open.length === MAX_DEPTH) fail(source, at, `at most ${MAX_DEPTH} levels`);
      const level = { object: first === '{', start: at, children: [], keyText: '' };
      at = skipSpace(source, at + 1);
      if (source[at] !== (level.object ? '}' : ']')) {
        if (level.object) level.keyText = memberKey();
        open.push(level);
        continue;
      }
      at += 1;
      value = new Json(level.object ? 'object' : 'array', source, level.start, at, level.children);
    } else {
      value = scalar(source, at);
      at += value.length;
    }
    // The value may end any number of the open objects and arrays.
    for (;;) {
      at = skipSpace(source, at);
      const level = open.at(-1);
      if (level === undefined) {
        if (at < source.length) fail(source, at, 'the end of the text');
        return value;
      }
      level.children.push(level.object ? new Member(level.keyText, value) : value);
      if (source[at] === ',') {
        at = skipSpace(source, at + 1);
        if (level.object) level.keyText = memberKey();
        break;
      }
      if (source[at] !== (level.object ? '}' : ']')) fail(source, at, level.object ? '"," or "}"' : '"," or "]"');
      at += 1;
      value = new Json(level.object ? 'object' : 'array', source, level.start, at, level.children);
      open.pop();
    }
  }
};

/**
 * Converts to plain values, where the values of the keys in `exact` stay `Json`. Objects have no prototype, so that no
 * key of the data has a meaning. Returns the value.
 */
export const toPlain = (json, exact = EXACT_KEYS) => {
  if (json.kind === 'object') {
    const object = Object.create(null);
    for (const { key, value } of json.members) {
      if (exact.has(key)) object[key] = value;
      else if (value.kind === 'object' && exact.has(`${key}.*`)) {
        object[key] = Object.create(null);
        for (const member of value.members) object[key][member.key] = member.value;
      } else object[key] = toPlain(value, exact);
    }
    return object;
  }
  if (json.kind === 'array') return json.items.map((item) => toPlain(item, exact));
  if (json.kind === 'string') return json.string;
  if (json.kind === 'number') return Number(json.text);
  return json.kind === 'null' ? null : json.text === 'true';
};

/** The decimal digits and the exponent of a number: equal numbers have equal texts. */
const canonicalNumber = (text) => {
  const [, sign, whole, fraction = '', exponent = '0'] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE](.+))?$/.exec(text);
  const digits = (whole + fraction).replace(/^0+/, '');
  const last = digits.search(/[1-9]0*$/);
  if (last < 0) return '0';
  const zeros = digits.length - last - 1;
  const power = BigInt(exponent.replace('+', '')) - BigInt(fraction.length) + BigInt(zeros);
  return `${sign}${digits.slice(0, last + 1)}e${power}`;
};

const canonical = (json) => {
  if (json.kind === 'array') return `[${json.items.map(canonical).join()}]`;
  if (json.kind === 'object') {
    const last = new Map(json.members.map(({ key, value }) => [key, value]));
    const members = [...last].map(([key, value]) => `${JSON.stringify(key)}:${canonical(value)}`);
    return `{${members.sort().join()}}`;
  }
  if (json.kind === 'string') return JSON.stringify(json.string);
  return json.kind === 'number' ? canonicalNumber(json.text) : json.text;
};

/** Whether two values are equal as the service compares them: 1 = 1.0, keys in any order, the last duplicate counts. */
export const equal = (a, b) => a.text === b.text || (a.kind === b.kind && canonical(a) === canonical(b));

/** Returns the text with line breaks and indentation. Numbers, strings and keys stay as written. */
export const pretty = (json, indent = '') => {
  const inner = `${indent}  `;
  const lines = json.kind === 'object'
    ? json.members.map(({ keyText, value }) => `${inner}${keyText}: ${pretty(value, inner)}`)
    : json.items.map((item) => inner + pretty(item, inner));
  const [open, close] = json.kind === 'object' ? '{}' : '[]';
  return lines.length === 0 ? json.text : `${open}\n${lines.join(',\n')}\n${indent}${close}`;
};
