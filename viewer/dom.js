// The one place that makes elements. Strings become text nodes, so that data cannot become markup.

const TAGS = new Set(`a abbr article aside b bdi br button caption code col colgroup datalist dd del details dfn dialog
  div dl dt em fieldset figcaption figure footer form h1 h2 h3 h4 header hr i input ins kbd label legend li main mark
  menu meter nav ol optgroup option output p pre progress q s samp search section select small span strong sub summary
  sup table tbody td textarea tfoot th thead time tr u ul var wbr`.split(/\s+/));
const SVG_TAGS = new Set(`svg g path rect line circle ellipse polyline polygon text tspan title desc defs clipPath
  pattern mask linearGradient radialGradient stop`.split(/\s+/));
const PROPERTIES = new Set(['value', 'checked', 'disabled', 'hidden', 'open', 'tabIndex', 'selected']);
const FORBIDDEN = new Set(['style', 'srcdoc', 'src', 'xlink:href', 'formaction', 'action', 'target', 'ping']);

/** Whether a link may have this address. Addresses of the data never reach other schemes, such as javascript:. */
const safeHref = (value, attributes) => {
  if (/^[?#]/.test(value) || /^\/viewer\/(?!\/)/.test(value)) return true;
  if (/^blob:/.test(value)) return attributes.download !== undefined;
  return /^https:\/\//i.test(value) && URL.canParse(value) && new URL(value).protocol === 'https:';
};

const setAttributes = (element, attributes) => {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === 'on') {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (FORBIDDEN.has(name.toLowerCase()) || /^on/i.test(name)) {
      throw new Error(`h: the attribute "${name}" is not allowed`);
    } else if (value === false || value === null || value === undefined) {
      if (PROPERTIES.has(name) && value === false) element[name] = false;
    } else if (PROPERTIES.has(name) && name in element) {
      element[name] = value;
    } else {
      if (name.toLowerCase() === 'href') {
        if (!safeHref(String(value), attributes)) throw new Error('h: this href is not allowed');
        if (/^https:/i.test(value)) element.setAttribute('rel', 'noopener noreferrer');
      }
      element.setAttribute(name, value === true ? '' : String(value));
    }
  }
};

const append = (parent, children) => {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    parent.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return parent;
};

/**
 * Makes an HTML element. `value`, `checked`, `disabled`, `hidden`, `open`, `tabIndex` and `selected` are set as
 * properties, `on` adds listeners, and anything else is an attribute. Returns the element; throws for a tag, an
 * attribute or an address that is not allowed.
 */
export const h = (tag, attributes, ...children) => {
  if (!TAGS.has(tag)) throw new Error(`h: the tag "${tag}" is not allowed`);
  const element = document.createElement(tag);
  // The value of a select exists only with its options, so attributes come second.
  append(element, children);
  setAttributes(element, attributes);
  return element;
};

/** Makes an SVG element, with the rules of `h`. Returns the element. */
export const s = (tag, attributes, ...children) => {
  if (!SVG_TAGS.has(tag)) throw new Error(`s: the tag "${tag}" is not allowed`);
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === 'on') setAttributes(element, { on: value });
    else if (/^on|href|^style$/i.test(name)) throw new Error(`s: the attribute "${name}" is not allowed`);
    else if (name === 'tabIndex') element.setAttribute('tabindex', String(value));
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? '' : String(value));
    }
  }
  return append(element, children);
};

/** Replaces all children of `parent`. Returns `parent`. */
export const replace = (parent, ...children) => {
  parent.replaceChildren();
  return append(parent, children);
};
