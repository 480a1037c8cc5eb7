// JSON texts kept byte for byte. JSON.parse loses digits of large numbers, duplicate keys, their order and escapes.

const MAX_DEPTH = 512;
const KINDS = { '{': 'object', '[': 'array', '"': 'string', t: 'boolean', f: 'boolean', n: 'null' };
const SEPARATORS = /[\s,:]*/y;
const WORD = /[^\s,\]}]*/y;

/** The members whose values people wrote: `toPlain` keeps these as `Json`. `metadata.*` is each value of `metadata`. */
export const EXACT_KEYS = new Set(
  ['oldValue', 'newValue', 'value', 'written', 'found', 'restore', 'expected', 'metadata.*']);

/** One JSON value: its `kind`, and its `text` exactly as written. Made by `parse`. */
export class Json {
  #children;

  constructor(kind, text, children) {
    this.kind = kind;
    this.text = text;
    this.#children = children;
  }

  /** The length of `text`. */
  get length() { return this.text.length; }
  /** The members of an object, `{ key, keyText, value }`, in their order and with duplicates. Otherwise empty. */
  get members() { return this.kind === 'object' ? this.#children : []; }
  /** The items of an array. Otherwise empty. */
  get items() { return this.kind === 'array' ? this.#children : []; }
  /** The decoded text of a string. Otherwise null. */
  get string() { return this.kind === 'string' ? JSON.parse(this.text) : null; }
  /** The decoded text of a string, or else the text. */
  toString() { return this.string ?? this.text; }
}

/** Parses a JSON text. Returns a `Json`; throws a SyntaxError. At most 512 levels deep, so that recursion is safe. */
export const parse = (source) => {
  JSON.parse(source);
  // From here on, the text is known to be valid.
  let at = 0;
  const skip = (pattern) => {
    pattern.lastIndex = at;
    pattern.test(source);
    at = pattern.lastIndex;
  };
  const string = () => {
    const start = at;
    // A loop, since a regular expression may run out of stack.
    for (at += 1; source[at] !== '"'; at += 1) if (source[at] === '\\') at += 1;
    at += 1;
    return source.slice(start, at);
  };
  const member = (depth) => {
    const keyText = string();
    return { key: JSON.parse(keyText), keyText, value: value(depth) };
  };
  const value = (depth) => {
    skip(SEPARATORS);
    const kind = KINDS[source[at]] ?? 'number';
    if (kind === 'string') return new Json(kind, string());
    const start = at;
    const children = [];
    if (kind === 'object' || kind === 'array') {
      if (depth > MAX_DEPTH) throw new SyntaxError(`JSON of more than ${MAX_DEPTH} levels`);
      at += 1;
      for (skip(SEPARATORS); !'}]'.includes(source[at]); skip(SEPARATORS)) {
        children.push(kind === 'object' ? member(depth + 1) : value(depth + 1));
      }
      at += 1;
    } else skip(WORD);
    return new Json(kind, source.slice(start, at), children);
  };
  return value(1);
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
  return json.kind === 'array' ? json.items.map((item) => toPlain(item, exact)) : JSON.parse(json.text);
};
