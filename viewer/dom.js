// The one place that makes elements. Strings become text nodes, so that data cannot become markup.

const TAGS = new Set(`a abbr article aside b bdi br button caption code dd del details dialog div dl dt em fieldset
  figcaption figure footer form h1 h2 h3 h4 header i input ins kbd label legend li main mark meter nav ol option
  output p pre progress q s section select small span strong sub summary sup table tbody td textarea tfoot th thead time
  tr ul var`.split(/\s+/));
const SVG_TAGS = new Set(['svg', 'g', 'path', 'rect', 'line', 'circle', 'polyline', 'polygon', 'title']);
const PROPERTIES = new Set(['value', 'checked', 'disabled', 'hidden', 'open', 'tabIndex', 'selected']);
const FORBIDDEN = /^(on.*|style|srcdoc|src|xlink:href|formaction|action|target|ping)$/i;

/** Whether a link may have this address. Addresses of the data never reach other schemes, such as javascript:. */
const isSafe = (href, attributes) => /^[?#]/.test(href) || /^\/viewer\/(?!\/)/.test(href)
  || (/^blob:/.test(href) && attributes.download !== undefined) || (/^https:\/\//i.test(href) && URL.canParse(href));

const setAttributes = (element, attributes) => {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === 'on') {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (FORBIDDEN.test(name)) {
      throw new Error(`h: the attribute "${name}" is not allowed`);
    } else if (PROPERTIES.has(name) && name in element) {
      if (value !== null && value !== undefined) element[name] = value;
    } else if (value !== false && value !== null && value !== undefined) {
      if (name.toLowerCase() === 'href') {
        if (!isSafe(String(value), attributes)) throw new Error('h: this href is not allowed');
        if (/^https:/i.test(value)) element.setAttribute('rel', 'noopener noreferrer');
      }
      element.setAttribute(name, value === true ? '' : String(value));
    }
  }
};

const append = (parent, children) => {
  const nodes = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  // `append` makes text nodes of strings.
  parent.append(...nodes.map((child) => child instanceof Node ? child : String(child)));
  return parent;
};

/**
 * Makes an HTML element. `value`, `checked`, `disabled`, `hidden`, `open`, `tabIndex` and `selected` are set as
 * properties, `on` adds listeners, and anything else is an attribute. Returns the element; throws for a tag, an
 * attribute or an address that is not allowed.
 */
export const h = (tag, attributes, ...children) => {
  if (!TAGS.has(tag)) throw new Error(`h: the tag "${tag}" is not allowed`);
  // The value of a select exists only with its options, so attributes come second.
  const element = append(document.createElement(tag), children);
  setAttributes(element, attributes);
  return element;
};

/** Makes an SVG element, with the rules of `h`. Returns the element. */
export const s = (tag, attributes, ...children) => {
  if (!SVG_TAGS.has(tag)) throw new Error(`s: the tag "${tag}" is not allowed`);
  const element = append(document.createElementNS('http://www.w3.org/2000/svg', tag), children);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (FORBIDDEN.test(name) || name.toLowerCase() === 'href') throw new Error(`s: "${name}" is not allowed`);
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  return element;
};

/** Replaces all children of `parent`. Returns `parent`. */
export const replace = (parent, ...children) => {
  parent.replaceChildren();
  return append(parent, children);
};
